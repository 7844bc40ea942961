// Package cli holds what viv's programs have in common: options, messages, exit
// statuses, standard input and output. The main.go of a program looks like this:
//
//	func main() {
//		var flags struct {
//			TracePer string `name:"trace-per" enum:"session,method" default:"session" help:"..."`
//			File     string `arg:"" optional:"" help:"Stream to read; - is stdin."`
//		}
//		cli.Program{
//			Name:  "viv-spans",
//			Doc:   "Adds spans to a viv stream.\n\n    viv-probe -- CMD | viv-spans | viv-tree",
//			Flags: &flags,
//			Run: func() error {
//				in, err := cli.OpenInput(flags.File)
//				if err != nil {
//					return err
//				}
//				defer in.Close()
//				out, err := cli.BinaryOutput()
//				if err != nil {
//					return err
//				}
//				r, w := stream.NewReader(in), stream.NewWriter(out)
//				err = spans(r, w) // returns the error of r.Next at the end of the input
//				if werr := w.Flush(); werr != nil {
//					return werr
//				}
//				return cli.Ended(r, err)
//			},
//		}.Main()
//	}
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"vivarium/pkg/stream"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// Version is the version of all of viv's programs.
const Version = "0.1.0"

// The exit statuses that all programs share.
const (
	OK         = 0
	Failed     = 1 // an error of the network or the disk; viv-filter -q matched nothing
	Usage      = 2 // wrong usage, or the input is not a stream
	Incomplete = 3 // done, but the input was cut short or events were lost
)

// Exit is an error with the exit status of the program. If Err is nil, nothing
// is printed.
type Exit struct {
	Status int
	Err    error
	Hint   string // what to do, printed on the line after the message; may be empty
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// Usagef returns an error with exit status 2 (Usage) and a message as of
// fmt.Errorf. hint may be empty.
func Usagef(hint, format string, args ...any) error {
	return &Exit{Usage, fmt.Errorf(format, args...), hint}
}

// Program describes one of viv's programs.
type Program struct {
	Name  string
	Doc   string // for --help: the purpose, and an indented example
	Flags any    // pointer to kong's struct
	Run   func() error
	// HandlesSignals leaves SIGINT and SIGTERM to Run. All other programs ignore the
	// first of them and read their input to the end, because Ctrl-C in a terminal
	// reaches all programs of a pipeline, and viv-probe then completes the stream.
	// A second signal ends them at once, with status 128 + its number.
	HandlesSignals bool
}

// Main parses the command line, runs the program and exits with its status.
func (p Program) Main() {
	os.Exit(p.main(os.Args[1:], os.Stdout, os.Stderr, os.Exit))
}

func (p Program) main(args []string, stdout, stderr io.Writer, exit func(int)) int {
	prefix = p.Name
	var all struct {
		Version kong.VersionFlag `help:"Print the version."`
	}
	k, err := kong.New(p.Flags, kong.Name(p.Name), kong.Description(p.Doc), kong.Embed(&all),
		kong.Writers(stdout, stderr), kong.Exit(exit), kong.Vars{"version": p.Name + " " + Version},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return report(stderr, err) // a mistake in Flags, found by every test
	}
	if _, err = k.Parse(args); err != nil {
		return report(stderr, &Exit{Usage, err, p.Name + " --help shows the options"})
	}
	catchSignals(p.HandlesSignals, exit)
	return report(stderr, p.Run())
}

// prefix is the name of the program, at the beginning of every message.
var prefix = "viv"

// Warn prints a message on stderr as one line, after the program's name.
func Warn(format string, args ...any) { printLine(os.Stderr, fmt.Sprintf(format, args...), "") }

func printLine(w io.Writer, msg, hint string) {
	msg = prefix + ": " + oneLine(msg) + "\n"
	if hint != "" {
		msg += "hint: " + oneLine(hint) + "\n"
	}
	io.WriteString(w, msg) // an error cannot be reported anywhere
}

// oneLine escapes characters that would break the line or control the terminal:
// messages contain text from outside, such as file names.
func oneLine(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if c == utf8.RuneError && n == 1 || !unicode.IsPrint(c) {
			q := strconv.QuoteToASCII(s[:n])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// report prints err and returns the exit status for it.
func report(stderr io.Writer, err error) int {
	var exit *Exit
	var format *stream.FormatError
	switch {
	case err == nil || errors.Is(err, ErrClosed):
		return OK
	case errors.As(err, &exit):
		if exit.Err != nil {
			printLine(stderr, exit.Err.Error(), exit.Hint)
		}
		return exit.Status
	case errors.As(err, &format):
		printLine(stderr, err.Error(), "")
		return Usage
	case errors.Is(err, stream.ErrIncomplete):
		printLine(stderr, err.Error(), "")
		return Incomplete
	}
	printLine(stderr, err.Error(), "")
	return Failed
}

// Ended turns the last error of r.Next into the error of the program: nil if the
// stream was complete and nothing was lost, else an error for exit status 2 or 3,
// or the error of reading. Call it when all records have been processed.
func Ended(r *stream.Reader, err error) error {
	lost := fmt.Sprintf("%d events were lost", r.Lost())
	if r.Lost() == 1 {
		lost = "1 event was lost"
	}
	switch {
	case r.Lost() == 0 && err == io.EOF:
		return nil
	case r.Lost() == 0 || err != io.EOF && !errors.Is(err, stream.ErrIncomplete):
		return err
	case err == io.EOF:
		return &Exit{Incomplete, errors.New(lost), ""}
	}
	return &Exit{Incomplete, fmt.Errorf("%w; %s", err, lost), ""}
}

// OpenInput opens the stream to read: a file, or stdin if the name is empty or
// `-`. If that is a terminal, a directory or cannot be opened, the error has exit
// status 2.
func OpenInput(file string) (io.ReadCloser, error) {
	if file == "" || file == "-" {
		if isTerminal(os.Stdin) {
			before := "viv-probe -- CMD | viv-spans | "
			if prefix == "viv-spans" {
				before = "viv-probe -- CMD | "
			}
			return nil, Usagef("pipe a stream into it: "+before+prefix, "stdin is a terminal, not a stream")
		}
		return os.Stdin, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, &Exit{Usage, err, ""}
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		f.Close()
		return nil, Usagef("", "open %s: it is a directory", file)
	}
	return f, nil
}

// Output returns stdout. If the process that reads it has ended, Write returns
// ErrClosed. If Run returns that, the program ends with status 0 and no message.
func Output() io.Writer { return output{} }

// BinaryOutput returns Output for a binary stream. It returns an error with exit
// status 2 if stdout is a terminal.
func BinaryOutput() (io.Writer, error) {
	if isTerminal(os.Stdout) {
		return nil, Usagef("pipe it to viv-tree, or write it to a file with >", "the stream is binary and stdout is a terminal")
	}
	return Output(), nil
}

// ErrClosed is the error of a write to Output after its reader has ended.
var ErrClosed = errors.New("stdout was closed")

type output struct{}

func (output) Write(b []byte) (int, error) {
	n, err := os.Stdout.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		err = ErrClosed
	}
	return n, err
}

// Color reports whether to write colours: stdout is a terminal, NO_COLOR is not
// set, and TERM is not dumb.
func Color() bool {
	return isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func catchSignals(own bool, exit func(int)) {
	// Writes to a closed pipe return an error instead of killing the process. Not
	// signal.Ignore: a command that viv-probe starts would inherit it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if own {
		return
	}
	c := make(chan os.Signal, 2)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if !signal.Ignored(s) { // nohup and the & of a shell ignore them
			signal.Notify(c, s)
		}
	}
	go func() {
		<-c
		exit(128 + int((<-c).(syscall.Signal)))
	}()
}
