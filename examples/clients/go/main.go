// A client of denclave in Go that needs the standard library only; docs/protocol.md has the protocol. It connects to TCP or a
// Unix socket, which `denclavectl bridge` forwards to an enclave's vsock.
//
//	go run main.go -connect tcp:127.0.0.1:5000 ping
//	go run main.go -connect unix:/run/denclave.sock -tsk-file tsk.hex -data hello process
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	timeout  = 65 * time.Second
	maxReply = 40 << 20
)

// ServiceError is an error reply. Code is stable.
type ServiceError struct {
	Code    string `json:"msg"`
	Details string `json:"details"`
}

func (e *ServiceError) Error() string { return e.Code + ": " + e.Details }

// Client sends requests on one connection, in order.
type Client struct{ conn net.Conn }

// Connect takes tcp:<host>:<port> or unix:<path>.
func Connect(address string) (*Client, error) {
	network, rest, found := strings.Cut(address, ":")
	if !found || (network != "tcp" && network != "unix") {
		return nil, fmt.Errorf("cannot use address %q: write tcp:<host>:<port> or unix:<path>", address)
	}
	conn, err := net.DialTimeout(network, rest, timeout)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Request sends a request and reads its reply into reply. The framing is u32be.
func (c *Client) Request(request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	message := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	if _, err := c.conn.Write(message); err != nil {
		return err
	}
	var header [4]byte
	if _, err := io.ReadFull(c.conn, header[:]); err != nil {
		return fmt.Errorf("no reply, and the request may have been carried out: %w", err)
	}
	length := binary.BigEndian.Uint32(header[:])
	if length > maxReply {
		return fmt.Errorf("the reply has %d bytes", length)
	}
	answer := make([]byte, length)
	if _, err := io.ReadFull(c.conn, answer); err != nil {
		return err
	}
	var outcome struct {
		Status string `json:"status"`
		ServiceError
	}
	if err := json.Unmarshal(answer, &outcome); err != nil {
		return err
	}
	if outcome.Status != "ok" {
		return &outcome.ServiceError
	}
	return json.Unmarshal(answer, reply)
}

const (
	requestBlob = 1
	replyBlob   = 2
)

// binding is the additional data of a blob: 34 bytes.
func binding(direction byte, requestID []byte) []byte {
	return append(append([]byte("denclave-process"), 1, direction), requestID...)
}

// Process seals data under the session key, bound to this request, sends it, and opens the result.
func (c *Client) Process(key, data []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 16+gcm.NonceSize())
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	id, nonce := random[:16], random[16:]
	blob := gcm.Seal(append([]byte(nil), nonce...), nonce, data, binding(requestBlob, id))
	request := map[string]any{
		"type": "process", "ciphertext": hex.EncodeToString(blob),
		"bind": true, "request_id": hex.EncodeToString(id),
	}
	var reply struct {
		Result string `json:"result"`
	}
	if err := c.Request(request, &reply); err != nil {
		return nil, err
	}
	result, err := hex.DecodeString(reply.Result)
	if err != nil || len(result) < gcm.NonceSize() {
		return nil, errors.New("the result is no blob")
	}
	opened, err := gcm.Open(nil, result[:gcm.NonceSize()], result[gcm.NonceSize():], binding(replyBlob, id))
	if err != nil {
		return nil, errors.New("the result is not the answer to this request")
	}
	return opened, nil
}

func run() error {
	address := flag.String("connect", "tcp:127.0.0.1:5000", "tcp:<host>:<port> or unix:<path>")
	file := flag.String("tsk-file", "", "process: the session key, 64 hex digits")
	data := flag.String("data", "", "process: the data to seal and send")
	flag.Parse()
	if command := flag.Arg(0); command != "ping" && command != "process" {
		return errors.New("which command? ping or process, after the flags")
	}
	if flag.NArg() > 1 {
		return fmt.Errorf("unexpected argument %q: flags come before the command", flag.Arg(1))
	}
	client, err := Connect(*address)
	if err != nil {
		return err
	}
	defer client.Close()
	if flag.Arg(0) == "ping" {
		var reply struct {
			Msg string `json:"msg"`
		}
		if err := client.Request(map[string]string{"type": "ping"}, &reply); err != nil {
			return err
		}
		fmt.Println(reply.Msg)
		return nil
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return fmt.Errorf("%s must hold 64 hex digits", *file)
	}
	result, err := client.Process(key, []byte(*data))
	if err != nil {
		return err
	}
	fmt.Println(string(result))
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "denclave:", err)
		os.Exit(1)
	}
}
