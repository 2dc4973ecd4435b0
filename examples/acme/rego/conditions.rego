# What the policies ask beyond whom and what they are about: hold(ID) is true where the condition of policy ID is met.
#
# What is missing must never let through. A condition of a forbid therefore says "not fine" where it can, so that a fact
# that is not there leaves the forbid standing.
package conditions

restricted if input.resource.attrs["class"] == "restricted"

public if input.resource.attrs["class"] == "public"

fresh if input.context.authAge < 900

action(names) if input.action.id in names

# acme.cedar
hold("staff.public-models") if public

hold("staff.public-weights") if public

# agents.cedar
hold("agents.never-take-release-govern") if not action({"server.read"})

# everybody.cedar
hold("everybody.request") if input.context.session

hold("everybody.token") if input.context.session

hold("governing.proof") if not proved(2)

hold("services.never-govern") if not serving

proved(level) if input.context.assurance >= level

serving if action({"audit.read"})

serving if {
	input.principal["in"].Role.provisioner
	input.resource.type == "Organisation"
	action({"identity.read", "identity.administer"})
}

serving if {
	input.principal["in"].Role["signal-receiver"]
	input.resource.type == "Organisation"
	action({"identity.read"})
}

serving if {
	input.principal["in"].Role["policy-ci"]
	input.resource.type == "System"
	action({"policy.propose"})
}

# governing.cedar
hold("pipeline.propose") if input.principal.type == "Service"

hold("owner.protect") if input.principal.attrs.person in input.resource.attrs.owners

hold("auditors.only-read") if not action({"audit.read", "token.issue", "server.read"})

hold("probation.no-export") if input.context.probation

hold("provisioner.keep") if input.principal.type == "Service"

hold("signals.hear") if input.principal.type == "Service"

# making.cedar
hold("developer.weights") if input.resource.attrs["class"] == "internal"

hold("data.granted") if input.context.granted

hold("data.restricted-needs-a-grant") if {
	restricted
	not excused
}

excused if input.context.granted

excused if {
	input.principal["in"].Role["data-engineer"]
	action({"dataset.read"})
}

hold("data.export-needs-proof") if not proved(4)

# possession.cedar
hold("weights.granted") if input.context.granted

hold("weights.restricted-need-a-grant") if {
	restricted
	not input.context.granted
}

hold("weights.export-needs-a-grant") if not input.context.granted

hold("weights.export-needs-proof") if not proved_lately(4)

proved_lately(level) if {
	proved(level)
	fresh
}

# proof.cedar
hold("proof.restricted-weights") if {
	restricted
	not proved(3)
}

# release.cedar
hold("release.not-by-its-maker") if maker

maker if input.principal.attrs.person in input.resource.attrs.makers

maker if input.principal.attrs.owner in input.resource.attrs.makers

hold("production.no-developers") if production

hold("production.proof") if {
	production
	not proved(2)
}

hold("production.office-hours") if {
	production
	not open
}

# What stands in production, or is brought there.
production if input.resource["in"].Environment.production

production if input.context.to == "production"

open if input.context.granted

open if {
	input.context.clock.hour >= 6
	input.context.clock.hour < 20
}

# risk.cedar
hold("risk.prove-again") if {
	not calm(50)
	not shown
}

calm(most) if input.context.risk < most

shown if proved_lately(2)

shown if action({"audit.read"})

hold("risk.ask-again") if {
	not calm(60)
	not proved_lately(3)
}

hold("risk.hold-restricted-weights") if {
	restricted
	not calm(90)
}

# reading.cedar
hold("points.ask") if input.principal.type == "Service"

# purposes.cedar
hold("purpose.drift") if {
	count(input.resource.attrs.purposes) > 0
	not input.context.purpose in input.resource.attrs.purposes
}

# environments.cedar
hold("staging.no-production-data") if {
	elsewhere
	not input.principal["in"].Role["break-glass-data"]
}

elsewhere if input.context.network in {"staging", "development"}

elsewhere if input.principal.attrs.environment != "production"

hold("breakglass.data") if input.principal["in"].Role["break-glass-data"]
