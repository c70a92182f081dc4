package store

import "time"

// Observer is told how the store's database does, for whoever measures. Its functions return at once; those that are
// nil are not called.
type Observer struct {
	// Committed is told how long a commit took, how many Updates it made durable, and why it failed, if it did.
	Committed func(took time.Duration, updates int, err error)
	// Collided is told of an Update that met another one and runs again.
	Collided func()
}

// commit ends a transaction and tells of it. A commit that collides has not failed: it will run again.
func (s *Store) commit(updates int, end func() error) error {
	began := s.clock.Now()
	err := end()
	if told := s.observer.Committed; told != nil && (err == nil || !s.dialect.Retryable(err)) {
		told(s.clock.Now().Sub(began), updates, err)
	}
	return err
}

func (s *Store) collided() {
	if told := s.observer.Collided; told != nil {
		told()
	}
}
