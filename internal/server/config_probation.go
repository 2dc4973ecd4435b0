package server

import (
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
)

// A ProbationConfig says what follows a hold that was lifted. The zero value is three days, 1 MiB a second and 1 GiB a call.
type ProbationConfig struct {
	Lasts  time.Duration `yaml:"lasts"`  // where whoever lifts a hold says nothing, a minute to 30 days; "72h" by default
	Limits []string      `yaml:"limits"` // obligations of weights and data that leave meanwhile, such as limit-rate=1048576

	limits []sallyport.Obligation
}

func (p *ProbationConfig) check() error {
	const op = "configuration"
	if p.Lasts != 0 && (p.Lasts < time.Minute || p.Lasts > hold.MaxProbation) {
		return sallyport.E(op, sallyport.Invalid, "\"probation: lasts\" is not within a minute to 30 days", "write a duration such as 72h; whoever lifts a hold may say why none follows")
	}
	limits := p.Limits
	if len(limits) == 0 {
		limits = []string{"limit-rate=1048576", "limit-bytes=1073741824"}
	}
	p.limits = nil
	for _, text := range limits {
		o, err := sallyport.ParseObligation(text)
		if err != nil {
			return err
		}
		p.limits = append(p.limits, o)
	}
	return nil
}
