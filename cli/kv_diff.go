package cli

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

func (e *env) kvDiff() *cli.Command {
	var mount string
	var versions []string
	var values bool
	return e.command(leaf{
		name: "diff", args: "PATH [PATH2]", usage: "Show which keys differ between two versions, or two secrets",
		help: kvPathHelp + " Without -versions these are the newest version and the one before.\n" +
			"Values are shown only with -show-values.",
		min: 1, max: 2,
		flags: []cli.Flag{
			mountFlag(&mount), versionsFlag(&versions, "two versions: 3,5; of two secrets, one of each"),
			&cli.BoolFlag{Name: "show-values", Usage: "show the values, too", Destination: &values},
		},
		run: func(ctx context.Context, args []string) error {
			from, to, err := e.versionsToCompare(ctx, mount, args, versions)
			if err != nil {
				return err
			}
			return e.showChanges(from, to, values)
		},
	})
}

// versionsToCompare reads the two sides of a comparison.
func (e *env) versionsToCompare(ctx context.Context, mount string, paths, given []string) (from, to kvVersion, err error) {
	var numbers []int64 // none: the newest
	if len(given) > 0 {
		if numbers, err = versionList(given); err == nil && len(numbers) != 2 {
			err = mistake("-versions: want two versions")
		}
		if err != nil {
			return from, to, err
		}
	}
	s, err := e.kvAt(ctx, mount, paths[0])
	if err != nil {
		return from, to, err
	}
	other := s
	if len(paths) == 2 {
		other, err = e.kvAt(ctx, mount, paths[1])
	} else if err = s.needVersions("Comparing versions is"); err == nil && numbers == nil {
		numbers, err = newestTwo(ctx, e, s)
	}
	if err != nil {
		return from, to, err
	}
	version := func(i int) string {
		if numbers == nil {
			return ""
		}
		return strconv.FormatInt(numbers[i], 10)
	}
	if from, err = readData(ctx, e, s, version(0)); err == nil {
		to, err = readData(ctx, e, other, version(1))
	}
	return from, to, err
}

func newestTwo(ctx context.Context, e *env, s kvSecret) ([]int64, error) {
	newest, err := readVersion(ctx, e, s, "")
	if err == nil && newest.number < 2 {
		err = mistake("There is but one version of %s", s.at("data"))
	}
	return []int64{newest.number - 1, newest.number}, err
}

// difference is a key that is not the same on both sides.
type difference struct {
	key      string
	from, to any
	was, is  bool // on either side
}

// kind is added, removed or changed.
func (d difference) kind() string {
	switch {
	case !d.was:
		return "added"
	case !d.is:
		return "removed"
	}
	return "changed"
}

func differences(from, to map[string]any) []difference {
	keys := maps.Clone(from)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, to)
	var list []difference
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		d := difference{key: key}
		d.from, d.was = from[key]
		d.to, d.is = to[key]
		if !d.was || !d.is || !reflect.DeepEqual(d.from, d.to) {
			list = append(list, d)
		}
	}
	return list
}

// side names a version in the answer.
type side struct {
	Path    string `json:"path"`
	Version int64  `json:"version,omitempty"`
}

func (v kvVersion) side() side { return side{Path: v.secret.at("data"), Version: v.number} }

func (s side) String() string {
	if s.Version == 0 {
		return s.Path
	}
	return fmt.Sprintf("%s version %d", s.Path, s.Version)
}

// showChanges prints the keys that differ; values only when they are asked for.
func (e *env) showChanges(from, to kvVersion, values bool) error {
	rows := [][]string{{"Key", "Change"}}
	if values {
		rows = [][]string{{"Key", "Change", "From", "To"}}
	}
	list := []map[string]any{}
	for _, d := range differences(from.data, to.data) {
		row, item := []string{d.key, d.kind()}, map[string]any{"key": d.key, "change": d.kind()}
		if values {
			row = append(row, e.sideCell(d.from, d.was), e.sideCell(d.to, d.is))
			if d.was {
				item["from"] = d.from
			}
			if d.is {
				item["to"] = d.to
			}
		}
		rows, list = append(rows, row), append(list, item)
	}
	if format, _ := e.format(); e.structured() || e.flags.field != "" || format == formatRaw {
		return e.show(view{object: map[string]any{"from": from.side(), "to": to.side(), "changes": list}})
	}
	text := "No differences.\n"
	if len(list) > 0 {
		text = table(rows)
	}
	return e.print(fmt.Sprintf("From %s\nto   %s\n\n%s", from.side(), to.side(), text))
}

// sideCell is a value on one line.
func (e *env) sideCell(value any, there bool) string {
	if !there {
		return ""
	}
	text := e.cell(value)
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}
