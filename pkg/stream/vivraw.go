package stream

import "io"

// capture hands out the records of a vivarium-raw capture.
type capture struct{}

func (c *capture) next() ([]byte, error) { return nil, io.EOF }

func (r *Reader) openCapture() error {
	return formatErrorf("vivarium-raw captures are not read yet")
}
