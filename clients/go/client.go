// Package denclave is the client of denclave: session keys, accounts, the master key, attestation documents, sealed requests.
//
//	client, err := denclave.Connect(ctx, "vsock:16:5000", denclave.Options{})
//	result, err := client.Process(ctx, key, []byte("hello"))
//
// Errors are *Error, with Kind, Code and Hint; those of wrong arguments are not.
package denclave

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Options of a client.
type Options struct {
	// Timeout of connecting and of each exchange; DefaultTimeout unless given. A context may end it earlier.
	Timeout time.Duration
	// ClientKey (X25519) is for sealed requests to a service with a list of clients.
	ClientKey *ecdh.PrivateKey
	// Life is how long a sealed request is valid: a minute unless given.
	Life time.Duration
}

// Client sends requests in order, from any goroutine.
type Client struct {
	conn   *conn
	sealed *sealedSession
}

// Connect connects to vsock:<cid>:<port>, tcp:<host>:<port> or unix:<path>.
func Connect(ctx context.Context, address string, options Options) (*Client, error) {
	conn, err := connect(ctx, address, options.Timeout)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn}, nil
}

// ConnectSealed connects as Connect does. Before the first request the client verifies the enclave, and seals every request for it: the parent sees only
// lengths and times.
func ConnectSealed(ctx context.Context, address string, expected Expected, options Options) (*Client, error) {
	if err := expected.check(); err != nil {
		return nil, err
	}
	client, err := Connect(ctx, address, options)
	if err != nil {
		return nil, err
	}
	if options.Life <= 0 {
		options.Life = time.Minute
	}
	turn := make(chan struct{}, 1)
	turn <- struct{}{}
	client.sealed = &sealedSession{turn: turn, expected: expected, clientKey: options.ClientKey, life: options.Life}
	return client, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.close() }

// Exchange sends a request and gives the reply, whatever its status.
func (c *Client) Exchange(ctx context.Context, request any) (json.RawMessage, error) {
	if c.sealed == nil {
		return c.conn.exchange(ctx, request)
	}
	select {
	case <-c.sealed.turn:
		defer func() { c.sealed.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, noReply(c.conn.address, context.Cause(ctx))
	case <-time.After(2 * c.conn.timeout):
		return nil, noReply(c.conn.address, errors.New("another request had no reply in time"))
	}
	reply, err := c.sealed.exchange(ctx, c, request)
	if err != nil {
		// The enclave may have restarted with another key.
		c.sealed.publicKey = nil
	}
	return reply, err
}

func randomBytes(length int) []byte {
	raw := make([]byte, length)
	_, _ = rand.Read(raw) // It never fails.
	return raw
}

// checked gives the error of a reply that is one.
func checked(reply json.RawMessage) error {
	var outcome struct {
		Status      string  `json:"status"`
		APIResponse *string `json:"apiResponse"`
		Msg         string  `json:"msg"`
		Details     string  `json:"details"`
		Code        string  `json:"code"`
	}
	if err := json.Unmarshal(reply, &outcome); err != nil {
		return unexpectedReply(err)
	}
	if outcome.Status == "ok" || (outcome.Status == "" && outcome.APIResponse != nil) {
		return nil
	}
	own := ""
	if outcome.Code != "" {
		own = " (" + outcome.Code + ")"
	}
	return &Error{
		Kind: KindService, Code: outcome.Msg, Details: outcome.Details, WorkflowCode: outcome.Code, Hint: ErrorCodes[outcome.Msg].Do,
		Message: fmt.Sprintf("The service answered %s%s: %s", outcome.Msg, own, outcome.Details),
	}
}

// Attest has the enclave attest, to its key and to up to 256 bytes of the caller's, and verifies the document.
func (c *Client) Attest(ctx context.Context, expected Expected, userData []byte) (*Document, error) {
	document, _, err := c.attest(ctx, expected, userData)
	return document, err
}

func (c *Client) attest(ctx context.Context, expected Expected, userData []byte) (*Document, time.Duration, error) {
	if err := expected.check(); err != nil {
		return nil, 0, err
	}
	nonce := randomBytes(32)
	request := map[string]any{"type": "attest", "nonce": nonce}
	if len(userData) > 0 {
		request["user_data"] = userData
	}
	answer, err := c.conn.exchange(ctx, request)
	if err == nil {
		err = checked(answer)
	}
	if err != nil {
		return nil, 0, err
	}
	var reply struct {
		Document          []byte    `json:"attestation_document"`
		PublicKey         []byte    `json:"public_key"`
		ConfigurationHash []byte    `json:"configuration_hash"`
		ExpiresAt         time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil {
		return nil, 0, unexpectedReply(err)
	}
	if len(reply.PublicKey) != 32 || len(reply.ConfigurationHash) != 32 {
		return nil, 0, unexpectedReply(errors.New("public_key or configuration_hash does not have 32 bytes"))
	}
	configuration := reply.ConfigurationHash
	if expected.ConfigurationHash != nil {
		configuration = expected.ConfigurationHash
	}
	fields := DocumentFields{Nonce: nonce, PublicKey: reply.PublicKey, UserData: AttestUserData(userData, configuration)}
	document, err := VerifyDocument(reply.Document, expected, fields)
	if err != nil {
		return nil, 0, err
	}
	life := reply.ExpiresAt.Sub(document.Timestamp)
	return document, min(max(life, time.Second), time.Hour), nil
}

// sealedSession is the key that requests are sealed for, and the counter of this client.
type sealedSession struct {
	// turn has one element while no request is under way.
	turn      chan struct{}
	expected  Expected
	clientKey *ecdh.PrivateKey
	life      time.Duration
	publicKey []byte
	until     time.Time
	clientID  []byte
	counter   int64
	started   int64
}

func (s *sealedSession) ready(ctx context.Context, client *Client) error {
	if s.publicKey != nil && time.Now().Before(s.until) {
		return nil
	}
	asked := time.Now()
	document, life, err := client.attest(ctx, s.expected, nil)
	if err != nil {
		return err
	}
	s.publicKey, s.until, s.clientID, s.counter = document.PublicKey, asked.Add(life), randomBytes(16), 0
	// Sessions of one client key must begin one after the other, also within a millisecond.
	s.started = max(s.started+1, asked.UnixMilli())
	return nil
}

// sealed is a sealed request, and what its reply is opened with.
type sealed struct {
	context    *hpkeSender
	ciphertext []byte
	aboutReply []byte
}

// sealMessage seals a request. times are: when the session began, when the request was sealed, when it expires; milliseconds since 1970.
func sealMessage(publicKey, plaintext, clientID []byte, counter int64, times [3]int64, senderKey, ephemeral *ecdh.PrivateKey) (*sealed, error) {
	keyHash := sha256.Sum256(publicKey)
	context, err := newHPKESender(publicKey, cborEncode([]any{"denclave-sealed", 2, "sealed", keyHash[:]}), senderKey, ephemeral)
	if err != nil {
		return nil, err
	}
	about := func(what string) []byte {
		return cborEncode([]any{"denclave-sealed", 2, what, keyHash[:], clientID, counter})
	}
	var whole []byte
	for _, each := range times {
		whole = binary.BigEndian.AppendUint64(whole, uint64(each))
	}
	ciphertext, err := context.seal(append(whole, plaintext...), about("request"))
	return &sealed{context, ciphertext, about("reply")}, err
}

func (s *sealed) open(reply []byte) ([]byte, error) {
	key, err := s.context.export(s.aboutReply)
	if err != nil {
		return nil, err
	}
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(reply) < gcm.NonceSize() {
		return nil, errors.New("it is too short")
	}
	return gcm.Open(nil, reply[:gcm.NonceSize()], reply[gcm.NonceSize():], s.aboutReply)
}

func (s *sealedSession) exchange(ctx context.Context, client *Client, request any) (json.RawMessage, error) {
	if err := s.ready(ctx, client); err != nil {
		return nil, err
	}
	plaintext, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	s.counter++
	now := max(s.started, time.Now().UnixMilli())
	times := [3]int64{s.started, now, now + s.life.Milliseconds()}
	made, err := sealMessage(s.publicKey, plaintext, s.clientID, s.counter, times, s.clientKey, nil)
	if err != nil {
		return nil, err
	}
	keyID := sha256.Sum256(s.publicKey)
	message := map[string]any{
		"type": "sealed", "key_id": keyID[:], "client_id": s.clientID, "counter": s.counter,
		"enc": made.context.enc, "ciphertext": made.ciphertext,
	}
	if s.clientKey != nil {
		message["client_key"] = s.clientKey.PublicKey().Bytes()
	}
	answer, err := client.conn.exchange(ctx, message)
	if err != nil {
		return nil, err
	}
	if refusal := checked(answer); refusal != nil {
		return nil, sealedProblem("sealed_refused", refusal.Error()+" (in the open)", refusal)
	}
	var reply struct {
		Type       string `json:"type"`
		Ciphertext []byte `json:"ciphertext"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil || reply.Type != "sealed" {
		return nil, sealedProblem("sealed_reply", "There is no sealed reply in the answer", err)
	}
	opened, err := made.open(reply.Ciphertext)
	var object map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(opened, &object)
	}
	if err != nil {
		return nil, sealedProblem("sealed_not_opened", "The sealed reply is not the answer to this request, or was changed", err)
	}
	return opened, nil
}
