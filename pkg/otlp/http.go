package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// httpClient sends requests to an OTLP/HTTP receiver.
type httpClient struct {
	*Endpoint
	client *http.Client
	agent  string
}

const maxAnswer = 64 << 10 // bytes of an answer's headers, and of its body, that are read

func newHTTPClient(e *Endpoint, agent string) *httpClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = e.TLS
	transport.MaxResponseHeaderBytes = maxAnswer
	transport.Proxy = http.ProxyURL(e.Proxy)
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
		if res.StatusCode != http.StatusOK && !temporary(res.StatusCode) {
			return permanentError{"the proxy answered " + res.Status}
		}
		return nil
	}
	c := &httpClient{Endpoint: e, agent: agent, client: &http.Client{
		Transport: transport,
		// Most redirects drop the body, and the target is then no receiver.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
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
		return answer{verdict: refused, why: errors.New("the request cannot be built")}
	}
	for k, v := range c.Headers {
		req.Header.Set(k, v)
		if strings.EqualFold(k, "Host") {
			req.Host = v
		}
	}
	req.Header.Set("Content-Type", c.contentType())
	req.Header.Set("User-Agent", c.agent)
	if c.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	answered := false
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { answered = true }}))
	res, err := c.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the text of u has the URL with its query, which may hold a key
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return answer{verdict: retryable, why: fmt.Errorf("no answer within %v", c.Timeout)}
		}
		return failure(err, answered)
	}
	defer res.Body.Close()
	// An error while reading the body does not change the meaning of the status.
	var text []byte
	if res.StatusCode != http.StatusSwitchingProtocols { // no body follows, and the connection may stay open
		text, _ = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	}
	a := answer{why: errors.New("the receiver answered " + res.Status)}
	switch {
	case temporary(res.StatusCode):
		a.verdict, a.after = retryable, retryAfter(res.Header.Get("Retry-After"))
	case res.StatusCode == http.StatusRequestEntityTooLarge:
		a.verdict = tooLarge
	case res.StatusCode/100 == 2:
		kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
		a = b.Signal.partialSuccess(text, kind == "application/json")
		if encoding := res.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" && len(text) > 0 {
			a.why = fmt.Errorf("the receiver answered %s with a body that cannot be read: its Content-Encoding is %q", res.Status, encoding)
		}
	default:
		a.verdict = refused
	}
	return a
}

// temporary reports whether a request with this status is to be sent again.
func temporary(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// permanentError is an error that another attempt would repeat.
type permanentError struct{ text string }

func (r permanentError) Error() string { return r.text }

// failure returns the result of a request without a valid HTTP response. answered
// tells whether anything was received.
func failure(err error, answered bool) answer {
	var refusal permanentError
	var network net.Error // a timeout, too
	if errors.As(err, &refusal) {
		return answer{verdict: refused, why: err}
	}
	if answered && !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, context.Canceled) {
		return answer{verdict: retryable, unreadable: true, why: fmt.Errorf("the answer cannot be read: %w", err)}
	}
	return answer{verdict: retryable, why: err}
}

func (c *httpClient) close() { c.client.CloseIdleConnections() }

// retryAfter returns the wait that a Retry-After header requests, in seconds or as
// a date, at most maxRetryAfter; 0: none.
func retryAfter(v string) time.Duration {
	if s, err := strconv.ParseInt(v, 10, 64); err == nil {
		return time.Duration(min(max(s, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), maxRetryAfter)
	}
	return 0
}
