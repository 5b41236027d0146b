package denclave

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultTimeout is a little more than the service takes.
	DefaultTimeout = 65 * time.Second
	maxReply       = 40 << 20
	// Larger writes may be lost on vsock.
	vsockWrite = 32 << 10
)

// stream is what net.Conn and a vsock's file have in common.
type stream interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// conn sends requests in order: u32be frames, a deadline for each exchange, a cap on replies.
type conn struct {
	address string
	timeout time.Duration
	stream  stream
	// turn has one element while nobody uses the stream.
	turn   chan struct{}
	closed sync.Once
}

func failedTo(address string, err error) *Error {
	hint := "Check that the service or the bridge listens there; for vsock, that the enclave runs (nitro-cli describe-enclaves) with this CID."
	return &Error{
		Kind: KindConnect, Code: "connect_failed", Hint: hint, Details: err.Error(), Err: err,
		Message: fmt.Sprintf("Cannot connect to %s: %v", address, err),
	}
}

func dial(ctx context.Context, address string) (stream, error) {
	kind, rest, _ := strings.Cut(address, ":")
	switch kind {
	case "unix", "tcp":
		if rest == "" {
			break
		}
		if _, _, err := net.SplitHostPort(rest); kind == "tcp" && err != nil {
			break
		}
		found, err := new(net.Dialer).DialContext(ctx, kind, rest)
		if err != nil {
			var op *net.OpError
			if errors.As(err, &op) && op.Err != nil {
				err = op.Err
			}
			return nil, failedTo(address, err)
		}
		return found, nil
	case "vsock":
		host, port, _ := strings.Cut(rest, ":")
		cid, err := strconv.ParseUint(host, 10, 32)
		number, err2 := strconv.ParseUint(port, 10, 32)
		if err != nil || err2 != nil {
			break
		}
		found, err := dialVsock(ctx, uint32(cid), uint32(number))
		if err != nil {
			return nil, failedTo(address, err)
		}
		return found, nil
	}
	return nil, &Error{
		Kind: KindConnect, Code: "invalid_address", Message: fmt.Sprintf("Cannot use address %q", address),
		Hint: "Write vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>.",
	}
}

func connect(ctx context.Context, address string, timeout time.Duration) (*conn, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	found, err := dial(ctx, address)
	if err != nil {
		if ctx.Err() != nil {
			err = failedTo(address, context.Cause(ctx))
		}
		return nil, err
	}
	turn := make(chan struct{}, 1)
	turn <- struct{}{}
	return &conn{address: address, timeout: timeout, stream: found, turn: turn}, nil
}

func (c *conn) close() (err error) {
	c.closed.Do(func() { err = c.stream.Close() })
	return err
}

// exchange sends a request and gives the reply, whatever its status.
func (c *conn) exchange(ctx context.Context, request any) (json.RawMessage, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("nothing came within %v", c.timeout))
	defer cancel()
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, noReply(c.address, context.Cause(ctx))
	}
	if err := c.stream.SetDeadline(time.Time{}); err != nil {
		return nil, noReply(c.address, err)
	}
	// Ends reads and writes at the deadline, or when the caller cancels.
	stop := context.AfterFunc(ctx, func() { _ = c.stream.SetDeadline(time.Unix(1, 0)) })
	reply, err := c.sendAndReceive(body)
	if !stop() && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		// What comes next on this connection may be this request's reply.
		_ = c.close()
		return nil, noReply(c.address, err)
	}
	return reply, nil
}

func (c *conn) sendAndReceive(body []byte) (json.RawMessage, error) {
	message := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	for at := 0; at < len(message); at += vsockWrite {
		if _, err := c.stream.Write(message[at:min(at+vsockWrite, len(message))]); err != nil {
			return nil, plain(err)
		}
	}
	var head [4]byte
	if _, err := io.ReadFull(c.stream, head[:]); err != nil {
		return nil, plain(err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxReply {
		return nil, fmt.Errorf("the reply has %d bytes", length)
	}
	// Grows with what arrives, not with what was announced.
	reply, err := io.ReadAll(io.LimitReader(c.stream, int64(length)))
	if err != nil {
		return nil, plain(err)
	}
	if len(reply) < int(length) {
		return nil, plain(io.EOF)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(reply, &object); err != nil {
		return nil, fmt.Errorf("the reply is not a JSON object: %w", err)
	}
	return reply, nil
}

// plain says in words that the connection ended.
func plain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return errors.New("the service closed the connection")
	}
	return err
}
