package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// table prints the medians, and how they compare with the targets.
func table(w io.Writer, f *figures) {
	names := []string{theLimit, theSDK, theWorker, withInterval, withAlways}
	present := map[figure]bool{}
	for _, who := range names {
		for _, of := range []map[figure][]float64{f.samples[who], f.spoilt[who]} {
			for what := range of {
				present[what] = true
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "median of the rounds\t")
	for _, who := range names {
		fmt.Fprintf(t, "%s\t", who)
	}
	fmt.Fprintln(t)
	for _, what := range slices.Sorted(maps.Keys(present)) {
		fmt.Fprintf(t, "%s\t", what)
		base, based := f.median(theLimit, what)
		for _, who := range names {
			v, ok := f.median(who, what)
			switch {
			case !ok:
				fmt.Fprint(t, "\t")
			case based && who != theLimit && base != 0 && what != othersUsed && what != diskSync:
				fmt.Fprintf(t, "%s (%.2fx)\t", short(v), v/base)
			default:
				fmt.Fprintf(t, "%s\t", short(v))
			}
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if v, ok := f.median(theDisk, diskSync); ok {
		fmt.Fprintf(w, "\none fdatasync of 500 bytes: %s µs\n", short(v))
	}
	handlerTable(w, f)
	for _, who := range slices.Concat(names, handlerKinds) {
		if kept, lost := len(f.samples[who][othersUsed]), len(f.spoilt[who][othersUsed]); lost > 0 {
			fmt.Fprintf(w, "%s: %d visits undisturbed; %d disturbed to the last try, and left out where there are others\n", who, kept, lost)
		}
	}
	fmt.Fprintln(w)
	for _, v := range judge(f) {
		word := "met   "
		switch {
		case v.Spoilt:
			word = "SPOILT" // the machine was not ours: neither met nor missed
		case !v.Met:
			word = "MISSED"
		}
		fmt.Fprintf(w, "%s  %-16s %-46s %8s, target %s (%s)\n", word, v.Who, v.What, short(v.Reached), short(v.Target), v.By)
	}
}

// handlerTable prints what the kinds of handlers add.
func handlerTable(w io.Writer, f *figures) {
	for _, kind := range handlerKinds {
		bare, ok := f.median(kind, handlerBare)
		if !ok {
			continue
		}
		own, _ := f.median(kind, handlerOwn)
		added, _ := f.median(kind, handlerAdded)
		fmt.Fprintf(w, "handler %-5s by hand %s µs, with toolhand %s µs: %s µs more\n", kind, short(bare), short(own), short(added))
	}
}

// short is a number with about three digits that matter.
func short(v float64) string {
	switch {
	case v >= 100 || v <= -100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
