package filter

import "vivarium/pkg/stream"

// Run filters the records of r into out. It flushes out whenever r would block, and
// closes it at the end. Its error is one of out, ErrNoSpans, or the last one of
// r.Next, which is io.EOF at a complete end.
func Run(r *stream.Reader, f *Filter, out Sink) error {
	for {
		rec, err := r.Next()
		if err != nil {
			if cerr := out.Close(); cerr != nil {
				return cerr
			}
			return err
		}
		keep, set, err := f.Apply(rec)
		if err == nil && keep {
			err = out.Write(rec, set)
		}
		if err == nil && !r.Pending() {
			err = out.Flush()
		}
		if err != nil {
			return err
		}
	}
}
