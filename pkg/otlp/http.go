package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// httpClient sends requests to an OTLP/HTTP receiver.
type httpClient struct {
	*Endpoint
	client *http.Client
	kind   string // content type
	agent  string
}

const maxAnswer = 64 << 10 // bytes of an answer that are read

func newHTTPClient(e *Endpoint, agent string) *httpClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = e.TLS
	c := &httpClient{Endpoint: e, kind: "application/x-protobuf", agent: agent, client: &http.Client{
		Transport: transport,
		// Most redirects drop the body, and then what answers is no receiver.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if e.Protocol == HTTPJSON {
		c.kind = "application/json"
	}
	return c
}

func (c *httpClient) send(ctx context.Context, b Batch) answer {
	body := b.Body
	if c.Protocol == HTTPJSON {
		var err error
		if body, err = b.JSON(); err != nil {
			return answer{verdict: refused, why: err}
		}
	}
	if c.Gzip {
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
		w.Write(body)
		w.Close()
		body = z.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL.String(), bytes.NewReader(body))
	if err != nil {
		return answer{verdict: refused, why: errors.New("the request cannot be made")}
	}
	for k, v := range c.Headers {
		req.Header.Set(k, v)
		if strings.EqualFold(k, "Host") {
			req.Host = v
		}
	}
	req.Header.Set("Content-Type", c.kind)
	req.Header.Set("User-Agent", c.agent)
	if c.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := c.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // its own text has the URL with its query
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", c.Timeout)
		}
		return answer{verdict: again, why: err}
	}
	defer res.Body.Close()
	// What was read of half an answer does not change what its status says.
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	a := answer{why: errors.New("it answered " + res.Status)}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.verdict, a.after = again, retryAfter(res.Header.Get("Retry-After"))
	case http.StatusRequestEntityTooLarge:
		a.verdict = tooLarge
	default:
		if a.verdict = refused; res.StatusCode/100 == 2 {
			a = b.Signal.partialSuccess(text, strings.HasPrefix(res.Header.Get("Content-Type"), "application/json"))
		}
	}
	return a
}

func (c *httpClient) close() { c.client.CloseIdleConnections() }

// retryAfter is the wait that a Retry-After header asks for, in seconds or as
// a date; 0: none.
func retryAfter(v string) time.Duration {
	if s, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.Duration(min(max(s, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), maxRetryAfter)
	}
	return 0
}
