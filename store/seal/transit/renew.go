package transit

import (
	"context"
	"errors"
	"net/http"
	"time"

	"leasehold/client"
	"leasehold/internal/quiet"
)

// The pauses between renewals: half the time that the token still has, and after a failure a little, then more.
const (
	shortestPause = time.Second
	longestPause  = 24 * time.Hour
	firstRetry    = time.Second
	longestRetry  = time.Minute
)

// Run renews the token until ctx is done. It returns at once where something else does that, and once the token needs no
// renewal or can have none.
func (s *Seal) Run(ctx context.Context) {
	if s.cfg.RenewedOutside {
		return
	}
	var failures quiet.Errors
	retry := firstRetry
	for {
		pause, err := s.renew(ctx)
		news := failures.News(err) // it may fail in the same way for days
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && pause == 0:
			s.cfg.Log.Info("the token of the transit seal does not end, and is not renewed")
			return
		case err == nil:
			retry = firstRetry
		case unrenewable(err):
			s.cfg.Log.Warn("the token of the transit seal cannot be renewed: when it ends, no node can start", "error", err)
			return
		default:
			if news {
				s.cfg.Log.Warn("the token of the transit seal was not renewed: it is tried again", "error", err)
			}
			pause, retry = retry, min(2*retry, longestRetry)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// renew renews the token once, and says when to come again; 0: never.
func (s *Seal) renew(ctx context.Context) (time.Duration, error) {
	resp, err := s.client.Do(ctx, http.MethodPut, "auth/token/renew-self", map[string]any{})
	if err != nil {
		return 0, s.refusal("renew the token", err, "")
	}
	if resp.Auth == nil {
		return 0, errors.New("renew the token: the other server's answer is not understood")
	}
	return pauseFor(time.Duration(resp.Auth.LeaseDuration) * time.Second), nil
}

// pauseFor is how long a token that has left so much time is left alone; 0: for ever.
func pauseFor(left time.Duration) time.Duration {
	if left <= 0 {
		return 0
	}
	return min(max(left/2, shortestPause), longestPause)
}

// unrenewable says that the other server knows the token and will not renew it, as for a root token.
func unrenewable(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.StatusCode == http.StatusBadRequest
}
