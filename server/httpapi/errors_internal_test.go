package httpapi

import (
	"testing"

	"leasehold/internal/errs"
)

func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	for code := errs.Internal; code <= errs.Fault; code++ {
		if status := statuses[code]; status < 400 || status > 599 {
			t.Errorf("code %d has the status %d", code, status)
		}
	}
}
