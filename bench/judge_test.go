package main

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		q    float64
		want float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.99, 7},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{1, 2, 9}, 0.5, 2},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.99, 10},
	} {
		if got := quantile(c.of, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.of, got, c.want)
		}
	}
}

// TestJudge holds each way of comparing to both sides of its target.
func TestJudge(t *testing.T) {
	f := newFigures()
	f.addAll(theLimit, map[figure]float64{latency1: 100, throughput: 1000, cpu: 1})
	f.addAll(theWorker, map[figure]float64{latency1: 131, throughput: 760, cpu: 1.5, startReady: 151})
	f.addAll(withInterval, map[figure]float64{latency1: 280, throughput: 590})
	f.addAll(withAlways, map[figure]float64{latency1: 131 + 360, throughput: 1200})
	f.add(theDisk, diskSync, 100)
	f.addAll("exec", map[figure]float64{handlerBare: 1000, handlerAdded: 150})
	f.addAll("http", map[figure]float64{handlerBare: 100, handlerAdded: 101})
	want := map[string]bool{
		"worker/" + string(latency1): false, "worker/" + string(throughput): true, "worker/" + string(cpu): true,
		"worker/" + string(startReady):        false,
		"worker interval/" + string(latency1): true, "worker interval/" + string(throughput): false,
		"worker always/" + string(latency1): false, "worker always/" + string(throughput): true,
		"exec/" + string(handlerAdded): true, "http/" + string(handlerAdded): false,
	}
	judged := judge(f)
	if len(judged) != len(want) {
		t.Errorf("%d verdicts, want %d: what was not measured is not judged", len(judged), len(want))
	}
	for _, v := range judged {
		if met, ok := want[v.Who+"/"+string(v.What)]; !ok || met != v.Met {
			t.Errorf("%s %s: reached %v of %v, met %t", v.Who, v.What, v.Reached, v.Target, v.Met)
		}
	}
}

// TestSpoilt holds a disturbed sample off the medians and the verdicts.
func TestSpoilt(t *testing.T) {
	f := newFigures()
	f.add(theLimit, latency1, 100)
	f.spoil(theLimit, latency1, 900)
	f.spoil(theWorker, latency1, 120)
	if v, _ := f.median(theLimit, latency1); v != 100 {
		t.Errorf("a disturbed sample moved the median to %v", v)
	}
	judged := judge(f)
	if len(judged) != 1 || !judged[0].Spoilt {
		t.Errorf("a figure without an undisturbed sample was judged: %+v", judged)
	}
	f.add(theWorker, latency1, 125)
	if judged = judge(f); judged[0].Spoilt || judged[0].Reached != 1.25 {
		t.Errorf("with one it was not: %+v", judged)
	}
}

// TestNoise has another process use the machine, which must be seen, and must not
// be when that process is ours.
func TestNoise(t *testing.T) {
	around := listen()
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read x")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has worked
		t.Fatal(err)
	}
	with, without := around.others(), around.others(cmd.Process.Pid)
	in.Close()
	if err := cmd.Wait(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) { // read has no input: no failure
			t.Fatal(err)
		}
	}
	if with <= 0 || without >= with {
		t.Errorf("others used %v, and %v without the one that worked", with, without)
	}
}

func TestSyncTime(t *testing.T) {
	dir := t.TempDir()
	us, err := syncTime(dir, 5)
	if err != nil || us <= 0 {
		t.Fatalf("%v µs, %v", us, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
