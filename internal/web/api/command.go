package api

import (
	"path"
	"strings"

	"sallyport"
)

// Command is what to type to do something to a thing that one may do it to, "" where no one command does it. What is to be
// put in stands in capitals.
func Command(a sallyport.Action, on string) string {
	model, _, _ := strings.Cut(on, "@")
	switch a {
	case sallyport.ModelInfer:
		return "sallyport token --for model.infer@" + model
	case sallyport.ModelPull:
		return "sallyport pull " + model + " ./" + path.Base(model)
	case sallyport.ModelPullAux:
		return "sallyport pull " + model + " ./" + path.Base(model) + " --only tokenizer --only config"
	case sallyport.ModelPush:
		return "sallyport push DIR " + model
	case sallyport.ModelPromote:
		return "sallyport catalog promote " + on
	case sallyport.GrantApprove:
		return "sallyport inbox"
	case sallyport.AuditRead:
		return "sallyport log search"
	case sallyport.IdentityAdminister:
		return "sallyport user ls"
	case sallyport.PolicyPropose:
		return "sallyport policy propose DIR"
	case sallyport.PolicyApprove:
		return "sallyport policy proposals"
	case sallyport.HoldPlace:
		return "sallyport lock KIND NAME --why REASON"
	}
	return ""
}
