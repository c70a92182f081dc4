package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime is how long the search may take for one object. It takes milliseconds; what cannot be decided fails.
const checkTime = time.Minute

// checkAll fails the test for each object whose operations no order explains, and shows the smallest part that shows it.
func checkAll(t *testing.T, history map[string][]operation) {
	t.Helper()
	for _, object := range slices.Sorted(maps.Keys(history)) {
		ops := history[object]
		switch check(ops) {
		case porcupine.Unknown:
			t.Errorf("%s: its %d operations could not be checked in %s", object, len(ops), checkTime)
		case porcupine.Illegal:
			least := reduce(ops)
			t.Errorf("%s: no order of its operations explains their answers; %d of %d show it:\n%s\ndrawn in %s",
				object, len(least), len(ops), list(least), draw(least))
		}
	}
}

// check looks for an order of one object's operations.
func check(ops []operation) porcupine.CheckResult {
	if len(ops) == 0 {
		return porcupine.Ok
	}
	return porcupine.CheckOperationsTimeout(modelOf(ops[0].object), events(ops), checkTime)
}

func events(ops []operation) []porcupine.Operation {
	all := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		all[i] = porcupine.Operation{ClientId: o.client, Input: o, Call: o.start.Nanoseconds(), Return: o.end.Nanoseconds()}
		if o.class == unknown {
			all[i].Return = math.MaxInt64 // it may take effect at any time from its start on
		}
	}
	return all
}

// reduce takes away what is not needed to see that a history is wrong, and nothing that could make a right one wrong: the end
// of the history first, then single observations.
func reduce(ops []operation) []operation {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b operation) int { return cmp.Compare(a.end, b.end) })
	first, _ := slices.BinarySearchFunc(ops, 0, func(o operation, _ int) int {
		if check(until(ops, o.end)) == porcupine.Illegal {
			return 1
		}
		return -1
	})
	if first < len(ops) {
		ops = until(ops, ops[first].end)
	}
	for i := len(ops) - 1; i >= 0; i-- {
		if without := slices.Delete(slices.Clone(ops), i, i+1); ops[i].observes() && check(without) == porcupine.Illegal {
			ops = without
		}
	}
	slices.SortFunc(ops, func(a, b operation) int { return cmp.Compare(a.start, b.start) })
	return ops
}

// until is the history as it was known at a moment: what had not been answered was unknown then.
func until(ops []operation, at time.Duration) []operation {
	var known []operation
	for _, o := range ops {
		if o.start > at {
			continue
		}
		if o.end > at {
			if o.observes() {
				continue
			}
			o.class, o.answer = unknown, ""
		}
		known = append(known, o)
	}
	return known
}

func list(ops []operation) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}

// draw leaves a page with a picture of the operations in the temporary folder, and says where.
func draw(ops []operation) string {
	shown := slices.Clone(events(ops))
	var last int64
	for _, o := range ops {
		last = max(last, o.end.Nanoseconds())
	}
	for i := range shown {
		shown[i].Return = min(shown[i].Return, last+1)
	}
	m := modelOf(ops[0].object)
	_, info := porcupine.CheckOperationsVerbose(m, shown, checkTime)
	file, err := os.CreateTemp("", "leasehold-history-*.html")
	if err != nil {
		return err.Error()
	}
	if err := porcupine.Visualize(m, info, file); err != nil {
		return err.Error()
	}
	if err := file.Close(); err != nil {
		return err.Error()
	}
	return file.Name()
}
