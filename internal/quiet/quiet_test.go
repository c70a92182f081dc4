package quiet_test

import (
	"errors"
	"testing"

	"leasehold/internal/quiet"
)

func TestNews(t *testing.T) {
	t.Parallel()
	var e quiet.Errors
	for i, step := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("read 127.0.0.1:41320: reset"), true},
		{errors.New("read 127.0.0.1:5977: reset"), false},
		{errors.New("refused"), true},
		{errors.New("read 127.0.0.1:41320: reset"), true},
		{nil, false},
		{errors.New("read 127.0.0.1:41320: reset"), true},
	} {
		if got := e.News(step.err); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
