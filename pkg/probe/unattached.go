package probe

// unattached writes as lost what could not be attached to: the first of each cause
// at once, the others at the end. ktime is when, ns.
func (r *recording) unattached(ktime uint64, end bool) error {
	if r.files == nil || r.files.Failed() == r.missed {
		return nil
	}
	for i, f := range r.files.Failures() {
		if i == len(r.told) {
			r.told = append(r.told, 0)
		}
		if n := f.N - r.told[i]; n > 0 && (end || r.told[i] == 0) {
			if err := r.writeLost(ktime, n, f.Err.Error()); err != nil {
				return err
			}
			r.told[i] = f.N
			r.missed += n
		}
	}
	return nil
}
