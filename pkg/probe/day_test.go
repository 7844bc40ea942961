package probe

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"vivarium/pkg/event"

	"github.com/cilium/ebpf"
)

// held is what a probe keeps, in the kernel and of its own.
type held struct {
	entries map[string]int // by map; of a task storage: watched processes
	kernel  int            // bytes that the kernel has allocated and cannot give back
	heap    int            // bytes
	files   int            // that are open
}

// holds counts what p keeps. What the kernel and the collector free a little
// later is not counted.
func holds(t *testing.T, p *Probe) held {
	t.Helper()
	h := held{entries: map[string]int{}}
	for name, m := range p.coll.Maps {
		switch m.Type() {
		case ebpf.RingBuf:
		case ebpf.TaskStorage: // only a task has one; see kernel
		case ebpf.Hash, ebpf.LRUHash, ebpf.ProgramArray:
			key := make([]byte, m.KeySize())
			for it, value := m.Iterate(), make([]byte, m.ValueSize()); it.Next(&key, &value); {
				h.entries[name]++
			}
		case ebpf.Array, ebpf.PerCPUArray:
			h.entries[name] = int(m.MaxEntries())
		default:
			t.Errorf("map %s is a %v: does it stay small?", name, m.Type())
		}
	}
	_, _, watched, err := p.tasks.pass()
	if err != nil {
		t.Fatal(err)
	}
	h.entries["watched processes"] = len(watched)
	runtime.GC()
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	h.heap = int(mem.HeapAlloc)
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(info) {
		if rest, ok := bytes.CutPrefix(line, []byte("SUnreclaim:")); ok {
			kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
			if err != nil {
				t.Fatal(err)
			}
			h.kernel = kb << 10
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	h.files = len(fds)
	return h
}

// processesOfDay is how many there are in the test: of an hour, with one a second,
// and of a whole day with the build tag slow.
var processesOfDay = 60 * 60

// TestObservedForgets: what is kept of observed processes goes with them, also
// where their ends are missed, and is not the next one's with the same id.
func TestObservedForgets(t *testing.T) {
	o := &observed{"Vivarium.observe", map[uint32]int{}}
	say := func(id event.ID, pid uint32, field int, v event.Value) bool {
		ev := event.Event{Kind: &event.Kinds[id], PID: pid, TID: pid}
		ev.Fields[field] = v
		return o.sees(id, &ev)
	}
	self := uint32(os.Getpid())
	fork := func(parent, child uint32) {
		say(event.ProcFork, parent, 0, event.Value{Type: event.Uint, Num: uint64(child)})
	}
	say(event.SpanStart, self, 0, event.Value{Type: event.Text, Text: []byte("Vivarium.observe")})
	const gone = 1 << 22 // pids end below it
	for i := range uint32(1000) {
		fork(self, gone+i)
	}
	fork(gone+2000, gone) // by one that is not observed
	if say(event.PathOpen, gone, 0, event.Value{}) || !say(event.PathOpen, gone+1, 0, event.Value{}) || len(o.open) != 1000 {
		t.Errorf("%d processes are observed", len(o.open))
	}
	o.sweep()
	if len(o.open) != 1 || !say(event.PathOpen, self, 0, event.Value{}) {
		t.Errorf("%d processes are observed, and the one that is left is: %v", len(o.open), o.open[self])
	}
}

// TestDay: a day's events leave nothing behind, neither in the maps nor in
// user space, also where the ends of tasks are missed.
func TestDay(t *testing.T) {
	processes := processesOfDay
	if testing.Short() {
		processes /= 6
	}
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		kernel := allEvents()
		for _, id := range libraryEvents {
			delete(kernel, id)
		}
		t.Run("kernel", func(t *testing.T) { day(t, Options{Hooks: hooks, Events: kernel}, processes) })
		// Attaching for a process takes the kernel milliseconds.
		t.Run("libraries", func(t *testing.T) { day(t, Options{Hooks: hooks}, processes/20) })
	})
}

func day(t *testing.T, opt Options, processes int) {
	const (
		heapRoom   = 2 << 20  // bytes: of a day, less than 50 for each process
		kernelRoom = 16 << 20 // bytes: what a thread leaves for its calls' exits alone is 8 KiB
	)
	cmd := exec.Command(program(t, "day"), tempDir(t))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said := bufio.NewReader(stdout)
	work := func(n int) {
		t.Helper()
		fmt.Fprintln(stdin, n)
		if line, err := said.ReadString('\n'); err != nil || line != "done\n" {
			t.Fatalf("the program says %q, %v", line, err)
		}
	}

	opt.PIDs = []int{cmd.Process.Pid}
	p := newProbe(t, opt)
	exits := p.bpf.links["sched_process_exit"] // ours to take away, while Record runs
	delete(p.bpf.links, "sched_process_exit")
	defer exits.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Not the program's end ends it: the race detector would not see the order.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	recorded := make(chan error)
	var res Result
	go func() {
		var err error
		res, err = p.Record(ctx, null)
		recorded <- err
	}()
	work(100)
	before := holds(t, p)
	for same := 0; same < 3; {
		time.Sleep(500 * time.Millisecond)
		now := holds(t, p)
		same++
		if now.files != before.files {
			same = 0
		}
		before = now
	}
	var grown []int // what the kernel has allocated since the last time, bytes
	kernel := before.kernel
	check := func(when string) {
		t.Helper()
		var now held
		// Links and what tasks held are let go a little after their tasks have ended.
		for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(100 * time.Millisecond) {
			now = holds(t, p)
			if now.files <= before.files && (now.kernel < kernel+kernelRoom || time.Since(began) > 20*time.Second) {
				break
			}
		}
		if !maps.Equal(now.entries, before.entries) {
			t.Errorf("%s: entries of maps: %v, before %v", when, now.entries, before.entries)
		}
		if now.files > before.files || now.heap > before.heap+heapRoom {
			t.Errorf("%s: %d open files, before %d; %d bytes of heap, before %d", when, now.files, before.files, now.heap, before.heap)
		}
		grown = append(grown, now.kernel-kernel)
		t.Logf("%s: entries %v; heap %+d KiB, kernel %+d KiB, %d open files", when, now.entries,
			(now.heap-before.heap)>>10, (now.kernel-kernel)>>10, now.files)
		kernel = now.kernel
	}
	work(processes / 2)
	check("half a day")
	if err := exits.Close(); err != nil {
		t.Fatal(err)
	}
	before.files--
	work(processes / 2)
	check("half a day of missed exits")
	if min(grown[0], grown[1]) > kernelRoom { // others make the kernel allocate, too, but not each time
		t.Errorf("the kernel has allocated %d and %d bytes more", grown[0], grown[1])
	}
	stop()
	if err := <-recorded; err != nil {
		t.Fatal(err)
	}
	if res.Events < uint64(processes)*6 && res.Lost == 0 {
		t.Errorf("only %d events", res.Events)
	}
	t.Logf("%d events, %d lost", res.Events, res.Lost)
}
