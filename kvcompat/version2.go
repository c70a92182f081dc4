package kvcompat

import "leasehold/engine"

func (e *Engine) newVersion2() *engine.Router { return engine.NewRouter() }
