package sallyport

import (
	"fmt"
	"slices"
	"strings"
)

// An Action is what somebody wants to do, named GROUP.VERB. Every route of every
// protocol is reduced to one of the actions below before anything is decided.
// The zero value is no action and is never permitted.
type Action string

// Knowing that something exists and what it is.
const (
	ModelList       Action = "model.list"       // enumerate models; the answer is filtered to what may be read
	ModelRead       Action = "model.read"       // card, metadata, metrics, list of files
	ModelIntrospect Action = "model.introspect" // properties of a served model
)

// Using a model. Use never implies possession.
const (
	ModelInfer    Action = "model.infer"
	ModelEmbed    Action = "model.embed"
	ModelEvaluate Action = "model.evaluate"
)

// Possessing a model.
const (
	ModelPull    Action = "model.pull"    // weight bytes, or anything that yields them
	ModelPullAux Action = "model.pullAux" // tokenizer and configuration files
	ModelExport  Action = "model.export"  // to somebody outside the organisation
)

// Making a model.
const (
	ModelRegister Action = "model.register"
	ModelPush     Action = "model.push"
	ModelSign     Action = "model.sign"
	ModelUpdate   Action = "model.update"
	ModelTrain    Action = "model.train"
	ModelTune     Action = "model.tune"
)

// Releasing a model. An alias, a stage or a tag that moves is a promotion.
const (
	ModelPromote  Action = "model.promote"
	ModelDeploy   Action = "model.deploy"
	ModelRollback Action = "model.rollback"
	ModelRetire   Action = "model.retire"
	ModelRename   Action = "model.rename"
	ModelDelete   Action = "model.delete"
	ModelRestore  Action = "model.restore"
)

// Serving: the control plane of inference servers, in the class of code execution.
const (
	ModelLoad     Action = "model.load"
	ModelUnload   Action = "model.unload"
	ModelScale    Action = "model.scale"
	AdapterLoad   Action = "adapter.load"
	AdapterUnload Action = "adapter.unload"
	ServerRead    Action = "server.read"
	ServerAdmin   Action = "server.admin"
)

// Data around models.
const (
	DatasetList      Action = "dataset.list"
	DatasetRead      Action = "dataset.read"
	DatasetWrite     Action = "dataset.write"
	DatasetDelete    Action = "dataset.delete"
	DatasetExport    Action = "dataset.export"
	ArtifactList     Action = "artifact.list"
	ArtifactRead     Action = "artifact.read"
	ArtifactWrite    Action = "artifact.write"
	ArtifactDelete   Action = "artifact.delete"
	ExperimentRead   Action = "experiment.read"
	ExperimentWrite  Action = "experiment.write"
	ExperimentDelete Action = "experiment.delete"
	RunRead          Action = "run.read"
	RunWrite         Action = "run.write"
	RunDelete        Action = "run.delete"
	TraceRead        Action = "trace.read"
	TraceWrite       Action = "trace.write"
	TraceDelete      Action = "trace.delete"
)

// Secrets, jobs and the network.
const (
	SecretUse      Action = "secret.use"
	SecretRead     Action = "secret.read"
	SecretWrite    Action = "secret.write"
	SecretDelete   Action = "secret.delete"
	TokenIssue     Action = "token.issue" // a token is never wider than what minted it
	KeyRelease     Action = "key.release"
	JobSubmit      Action = "job.submit"
	JobRead        Action = "job.read"
	JobCancel      Action = "job.cancel"
	EndpointUse    Action = "endpoint.use"
	EndpointManage Action = "endpoint.manage"
	EgressCall     Action = "egress.call" // the server is made to call a URL
)

// Governing the system itself.
const (
	GrantRequest       Action = "grant.request"
	GrantApprove       Action = "grant.approve"
	GrantRevoke        Action = "grant.revoke"
	PolicyRead         Action = "policy.read"
	PolicyPropose      Action = "policy.propose"
	PolicyApprove      Action = "policy.approve"
	PolicyActivate     Action = "policy.activate"
	HoldPlace          Action = "hold.place"
	HoldLift           Action = "hold.lift"
	LabelChange        Action = "label.change"
	IdentityRead       Action = "identity.read"
	IdentityAdminister Action = "identity.administer"
	AuditRead          Action = "audit.read"
	ReviewDecide       Action = "review.decide"
	DecisionAsk        Action = "decision.ask" // an enforcement point elsewhere asks what somebody else may do
	SystemConfigure    Action = "system.configure"
)

// Actions returns every action there is, in the order of the design's table.
func Actions() []Action {
	return []Action{
		ModelList, ModelRead, ModelIntrospect,
		ModelInfer, ModelEmbed, ModelEvaluate,
		ModelPull, ModelPullAux, ModelExport,
		ModelRegister, ModelPush, ModelSign, ModelUpdate, ModelTrain, ModelTune,
		ModelPromote, ModelDeploy, ModelRollback, ModelRetire, ModelRename, ModelDelete, ModelRestore,
		ModelLoad, ModelUnload, ModelScale, AdapterLoad, AdapterUnload, ServerRead, ServerAdmin,
		DatasetList, DatasetRead, DatasetWrite, DatasetDelete, DatasetExport,
		ArtifactList, ArtifactRead, ArtifactWrite, ArtifactDelete,
		ExperimentRead, ExperimentWrite, ExperimentDelete,
		RunRead, RunWrite, RunDelete, TraceRead, TraceWrite, TraceDelete,
		SecretUse, SecretRead, SecretWrite, SecretDelete, TokenIssue, KeyRelease,
		JobSubmit, JobRead, JobCancel, EndpointUse, EndpointManage, EgressCall,
		GrantRequest, GrantApprove, GrantRevoke,
		PolicyRead, PolicyPropose, PolicyApprove, PolicyActivate,
		HoldPlace, HoldLift, LabelChange, IdentityRead, IdentityAdminister, AuditRead,
		ReviewDecide, DecisionAsk, SystemConfigure,
	}
}

// ParseAction returns the action named s. Unknown names are errors: nothing is
// permitted that is not understood.
func ParseAction(s string) (Action, error) {
	if a := Action(s); a.Valid() {
		return a, nil
	}
	return "", E("parse action", Invalid, fmt.Sprintf("no action is called %q", clip(s)),
		"run 'sallyport matrix' to see the actions there are")
}

// Valid reports whether a is one of Actions.
func (a Action) Valid() bool { return slices.Contains(Actions(), a) }

// Group is the part before the dot: what kind of thing the action concerns.
func (a Action) Group() string {
	g, _, _ := strings.Cut(string(a), ".")
	return g
}

// Enters reports whether the action brings what it is about into an environment, so that whoever asks has to say which.
func (a Action) Enters() bool { return a == ModelPromote || a == ModelDeploy }

// clip shortens s for an error message, so that hostile input cannot flood one.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
