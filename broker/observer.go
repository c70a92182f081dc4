package broker

import "time"

// Observer is told what requests cost, for whoever measures. Its functions return at once; those that are nil are not
// called.
type Observer struct {
	// Handled is told of a request that was admitted, refused ones included: how long it took, and whether it was a login.
	Handled func(login bool, took time.Duration)
	// Audited is told of a line, of an answer or else of a request: how long the devices took, and the error when none of
	// them has it, so that the request was refused.
	Audited func(answer bool, took time.Duration, err error)
}

// handled tells of a request that began at a time.
func (o Observer) handled(c *call, began time.Time) {
	if o.Handled != nil {
		login := c.facts.Unauthenticated && c.mount != nil && c.mount.Kind == Auth
		o.Handled(login, c.b.clock.Now().Sub(began))
	}
}

// timed writes an audit line and tells of it.
func (b *Broker) timed(answer bool, write func() error) error {
	began := b.clock.Now()
	err := write()
	if told := b.cfg.Observer.Audited; told != nil {
		told(answer, b.clock.Now().Sub(began), err)
	}
	return err
}

// MountPath is the path of a mount, as this node last saw it, or "" when there is no such mount.
func (b *Broker) MountPath(mountUUID string) string {
	if m := b.held().byUUID[mountUUID]; m != nil {
		return m.Path
	}
	return ""
}
