package filter

import "vivarium/pkg/stream"

// Run filters what r reads into out. Its error is one of out, ErrNoSpans, or
// else the one that r.Next returned last.
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
