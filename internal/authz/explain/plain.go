package explain

import (
	"fmt"
	"strings"
	"time"

	"sallyport"
)

// doing says every action in plain words; %s is what it is done to.
// budget: a table that nobody writes to
var doing = map[sallyport.Action]string{
	sallyport.ModelList: "list the models of %s", sallyport.ModelRead: "read about %s", sallyport.ModelIntrospect: "see how %s is served",
	sallyport.ModelInfer: "use %s", sallyport.ModelEmbed: "make embeddings with %s", sallyport.ModelEvaluate: "evaluate %s",
	sallyport.ModelPull: "download the weights of %s", sallyport.ModelPullAux: "download the tokenizer and configuration of %s", sallyport.ModelExport: "hand %s to somebody outside",
	sallyport.ModelRegister: "register %s", sallyport.ModelPush: "upload a version of %s", sallyport.ModelSign: "sign %s", sallyport.ModelUpdate: "change what is said about %s",
	sallyport.ModelTrain: "train %s", sallyport.ModelTune: "tune %s",
	sallyport.ModelPromote: "promote %s", sallyport.ModelDeploy: "deploy %s", sallyport.ModelRollback: "roll back %s", sallyport.ModelRetire: "retire %s", sallyport.ModelRename: "rename %s",
	sallyport.ModelDelete: "delete %s", sallyport.ModelRestore: "restore %s",
	sallyport.ModelLoad: "load %s into a server", sallyport.ModelUnload: "unload %s from a server", sallyport.ModelScale: "scale the serving of %s",
	sallyport.AdapterLoad: "load an adapter onto %s", sallyport.AdapterUnload: "take an adapter off %s", sallyport.ServerRead: "see the state of %s", sallyport.ServerAdmin: "administer the server of %s",
	sallyport.DatasetList: "list the datasets of %s", sallyport.DatasetRead: "read the data of %s", sallyport.DatasetWrite: "change the data of %s", sallyport.DatasetDelete: "delete the data of %s",
	sallyport.DatasetExport: "hand the data of %s to somebody outside",
	sallyport.ArtifactList:  "list the artifacts of %s", sallyport.ArtifactRead: "read the artifacts of %s", sallyport.ArtifactWrite: "change the artifacts of %s", sallyport.ArtifactDelete: "delete the artifacts of %s",
	sallyport.ExperimentRead: "read the experiments of %s", sallyport.ExperimentWrite: "change the experiments of %s", sallyport.ExperimentDelete: "delete the experiments of %s",
	sallyport.RunRead: "read the runs of %s", sallyport.RunWrite: "change the runs of %s", sallyport.RunDelete: "delete the runs of %s",
	sallyport.TraceRead: "read the traces of %s", sallyport.TraceWrite: "write traces of %s", sallyport.TraceDelete: "delete the traces of %s",
	sallyport.SecretUse: "use the secrets of %s", sallyport.SecretRead: "read the secrets of %s", sallyport.SecretWrite: "change the secrets of %s", sallyport.SecretDelete: "delete the secrets of %s",
	sallyport.TokenIssue: "issue tokens for %s", sallyport.KeyRelease: "get the keys of %s", sallyport.JobSubmit: "run jobs on %s", sallyport.JobRead: "see the jobs of %s", sallyport.JobCancel: "cancel the jobs of %s",
	sallyport.EndpointUse: "use the endpoint %s", sallyport.EndpointManage: "manage the endpoint %s", sallyport.EgressCall: "have %s call addresses outside",
	sallyport.GrantRequest: "ask for rights on %s", sallyport.GrantApprove: "approve rights on %s", sallyport.GrantRevoke: "take rights on %s back",
	sallyport.PolicyRead: "read the policies of %s", sallyport.PolicyPropose: "propose policies of %s", sallyport.PolicyApprove: "approve policies of %s", sallyport.PolicyActivate: "put policies of %s in force",
	sallyport.HoldPlace: "place holds on %s", sallyport.HoldLift: "lift holds on %s", sallyport.LabelChange: "change the class of %s",
	sallyport.IdentityRead: "see the people of %s", sallyport.IdentityAdminister: "administer the people of %s", sallyport.AuditRead: "read the log of %s",
	sallyport.ReviewDecide: "decide reviews of %s", sallyport.DecisionAsk: "ask what others may do on %s", sallyport.SystemConfigure: "configure %s",
}

// Doing says in plain words what somebody does to a thing, as a verb with its object: "download the weights of acme/fraud".
func Doing(a sallyport.Action, on string) string {
	words, ok := doing[a]
	if !ok {
		return "do " + string(a) + " on " + on
	}
	return strings.Replace(words, "%s", on, 1)
}

// Brief is Doing without what it is done to, which is known from elsewhere: "download the weights".
func Brief(a sallyport.Action) string {
	words := Doing(a, "%s")
	for _, with := range []string{" of %s", " on %s", " with %s"} {
		if before, after, found := strings.Cut(words, with); found {
			return before + after
		}
	}
	if verb, ok := strings.CutSuffix(words, " %s"); ok && (!strings.Contains(verb, " ") || strings.HasSuffix(verb, " endpoint")) {
		return verb
	}
	return strings.Replace(words, "%s", "it", 1)
}

// Lasting says a time in plain words, to the second: "1 hour 30 minutes".
func Lasting(d time.Duration) string {
	var parts []string
	left := d.Round(time.Second)
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := left / unit.of
		if left -= n * unit.of; n == 1 {
			parts = append(parts, "1 "+unit.name)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	if len(parts) == 0 {
		return "no time"
	}
	return strings.Join(parts, " ")
}
