package denclave

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Credentials are the parent's AWS credentials, which the enclave calls KMS with.
type Credentials struct {
	AccessKeyID     string `json:"aws_access_key_id"`
	SecretAccessKey string `json:"aws_secret_access_key"`
	SessionToken    string `json:"aws_session_token"`
}

// Retrieve makes fixed credentials a CredentialSource.
func (c Credentials) Retrieve(context.Context) (Credentials, error) { return c, nil }

// String leaves the secrets out.
func (c Credentials) String() string { return "Credentials(" + c.AccessKeyID + ")" }

// GoString leaves the secrets out.
func (c Credentials) GoString() string { return c.String() }

// CredentialSource gives credentials: Credentials, or CredentialFunc. It is asked again when KMS says that they have expired.
type CredentialSource interface {
	Retrieve(context.Context) (Credentials, error)
}

// CredentialFunc is a function that fetches credentials.
type CredentialFunc func(context.Context) (Credentials, error)

// Retrieve fetches.
func (f CredentialFunc) Retrieve(ctx context.Context) (Credentials, error) { return f(ctx) }

// Request sends a request, with credentials unless they are nil, and reads the reply of one that worked into reply, unless that is nil. The error of one
// that the service refused is of KindService.
func (c *Client) Request(ctx context.Context, request map[string]any, credentials CredentialSource, reply any) error {
	var answer json.RawMessage
	var refusal error
	for range 2 {
		whole := maps.Clone(request)
		if credentials != nil {
			found, err := credentials.Retrieve(ctx)
			if err != nil {
				return fmt.Errorf("there are no AWS credentials: %w", err)
			}
			whole["credential"] = found
		}
		var err error
		if answer, err = c.Exchange(ctx, whole); err != nil {
			return err
		}
		if refusal = checked(answer); Code(refusal) != "credentials_expired" {
			break
		}
	}
	if refusal != nil || reply == nil {
		return refusal
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return unexpectedReply(err)
	}
	return nil
}

// put adds what is not empty.
func put(request map[string]any, name, value string) {
	if value != "" {
		request[name] = value
	}
}

// Ping gives the enclave's time.
func (c *Client) Ping(ctx context.Context) (time.Time, error) {
	var reply struct {
		Timestamp time.Time `json:"timestamp"`
	}
	err := c.Request(ctx, map[string]any{"type": "ping"}, nil, &reply)
	return reply.Timestamp, err
}

// SessionKey is a session key as `denclavectl tsk` wrapped it. The last three are needed only where the service asks for them.
type SessionKey struct {
	EncryptedTSK string
	KMSKeyID     string
	Region       string
	Epoch        int64
}

// Configure has KMS open the session key, and uses it.
func (c *Client) Configure(ctx context.Context, key SessionKey, credentials CredentialSource) error {
	request := map[string]any{"type": "configure", "encrypted_tsk": key.EncryptedTSK}
	put(request, "kms_key_id", key.KMSKeyID)
	put(request, "region", key.Region)
	if key.Epoch != 0 {
		request["epoch"] = key.Epoch
	}
	return c.Request(ctx, request, credentials, nil)
}

const (
	requestBlob = 1
	replyBlob   = 2
)

// Process has the workflow work on data, sealed under the session key (32 bytes), bound to this request.
func (c *Client) Process(ctx context.Context, key, data []byte) ([]byte, error) {
	return c.process(ctx, key, data, randomBytes(16))
}

// ProcessUnbound is for services that know the old format only.
func (c *Client) ProcessUnbound(ctx context.Context, key, data []byte) ([]byte, error) {
	return c.process(ctx, key, data, nil)
}

func (c *Client) process(ctx context.Context, key, data, id []byte) ([]byte, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("cannot seal with a key of %d bytes: AES-256 has 32", len(key))
	}
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	// The additional data of a blob: 34 bytes; none in the old format.
	binding := func(direction byte) []byte {
		if id == nil {
			return nil
		}
		return append(append([]byte("denclave-process"), 1, direction), id...)
	}
	nonce := randomBytes(gcm.NonceSize())
	blob := gcm.Seal(nonce, nonce, data, binding(requestBlob))
	request := map[string]any{"type": "process", "ciphertext": hex.EncodeToString(blob)}
	if id != nil {
		request["bind"], request["request_id"] = true, hex.EncodeToString(id)
	}
	var reply struct {
		Result string `json:"result"`
	}
	if err := c.Request(ctx, request, nil, &reply); err != nil {
		return nil, err
	}
	result, err := hex.DecodeString(reply.Result)
	if err == nil && len(result) < gcm.NonceSize() {
		err = errors.New("it is too short")
	}
	var opened []byte
	if err == nil {
		opened, err = gcm.Open(nil, result[:gcm.NonceSize()], result[gcm.NonceSize():], binding(replyBlob))
	}
	if err != nil {
		return nil, &Error{
			Kind: KindReply, Code: "decrypt_failed", Err: err,
			Message: "Cannot open the result: it is not the answer to this request, or was changed",
			Hint:    "Check that the service has the same session key, and that no byte changed on the way.",
		}
	}
	return opened, nil
}

// Account is an account's row: it exists nowhere else, so store it.
type Account struct {
	Name                string `json:"name"`
	KeyID               string `json:"keyId"`
	Address             string `json:"address"`
	EncryptedPrivateKey string `json:"encryptedPrivateKey"`
	EncryptedDataKey    string `json:"encryptedDataKey"`
	Version             int    `json:"version"`
	// Attestation is the document about it, and Nonce the nonce in that.
	Attestation []byte `json:"attestation,omitempty"`
	Nonce       []byte `json:"nonce,omitempty"`
}

// CreateAccount makes an Ethereum account. Only what it returns has the account: store it before the address is used. With attest, the row has a document
// that Verify checks. keyID may be empty where one KMS key is allowed.
func (c *Client) CreateAccount(ctx context.Context, name, keyID string, attest bool, credentials CredentialSource) (*Account, error) {
	request := map[string]any{"apiRequest": "generateAccount", "name": name}
	put(request, "key_id", keyID)
	var nonce []byte
	if attest {
		nonce = randomBytes(32)
		request["nonce"] = nonce
	}
	var reply struct {
		Content struct {
			Account
			Document []byte `json:"attestationDocument"`
		} `json:"content"`
	}
	if err := c.Request(ctx, request, credentials, &reply); err != nil {
		return nil, err
	}
	account := reply.Content.Account
	account.Attestation, account.Nonce = reply.Content.Document, nonce
	if account.Name != name || account.Address == "" || account.EncryptedPrivateKey == "" || account.EncryptedDataKey == "" {
		return nil, unexpectedReply(errors.New("it has no whole account of this name"))
	}
	return &account, nil
}

// Verify says where the account's key comes from, by the row's document, as of the document's own time.
func (a *Account) Verify(expected Expected) (*Origin, error) {
	address, err := hex.DecodeString(strings.TrimPrefix(a.Address, "0x"))
	if err != nil {
		return nil, err
	}
	if a.Attestation == nil || a.Nonce == nil {
		return nil, fmt.Errorf("account %q has no attestation document", a.Name)
	}
	about := KeySubject{Purpose: "wallet", Subject: a.Name, PublicPart: address, KeyARN: a.KeyID}
	return VerifyKeyDocument(a.Attestation, expected, about, DocumentFields{Nonce: a.Nonce, AsMade: true})
}

// Signature is `0x` and hex. The last two are of a transaction.
type Signature struct {
	Signature         string `json:"signature"`
	R                 string `json:"r"`
	S                 string `json:"s"`
	YParity           int    `json:"yParity"`
	V                 int64  `json:"v"`
	SignedTransaction string `json:"signedTransaction,omitempty"`
	TransactionHash   string `json:"transactionHash,omitempty"`
}

// Payload has one field: message, typedData, transaction or digest.
type Payload map[string]any

func signRequest(account *Account) map[string]any {
	return map[string]any{
		"apiRequest": "sign", "name": account.Name, "key_id": account.KeyID, "address": account.Address,
		"encryptedPrivateKey": account.EncryptedPrivateKey, "encryptedDataKey": account.EncryptedDataKey, "version": account.Version,
	}
}

// Sign signs one payload.
func (c *Client) Sign(ctx context.Context, account *Account, payload Payload, credentials CredentialSource) (*Signature, error) {
	request := signRequest(account)
	maps.Copy(request, payload)
	var reply struct {
		Content Signature `json:"content"`
	}
	if err := c.Request(ctx, request, credentials, &reply); err != nil {
		return nil, err
	}
	if reply.Content.Signature == "" {
		return nil, unexpectedReply(errors.New("there is no signature"))
	}
	return &reply.Content, nil
}

// SignBatch signs up to 1,000 payloads under one KMS call, in their order.
func (c *Client) SignBatch(ctx context.Context, account *Account, payloads []Payload, credentials CredentialSource) ([]Signature, error) {
	request := signRequest(account)
	request["items"] = payloads
	var reply struct {
		Content struct {
			Signatures []Signature `json:"signatures"`
		} `json:"content"`
	}
	if err := c.Request(ctx, request, credentials, &reply); err != nil {
		return nil, err
	}
	if found := reply.Content.Signatures; len(found) != len(payloads) {
		return nil, unexpectedReply(fmt.Errorf("%d signatures for %d payloads", len(found), len(payloads)))
	}
	return reply.Content.Signatures, nil
}

// MasterKeyRow is a master key as it is stored.
type MasterKeyRow struct {
	EnclaveID           string `json:"enclave_id"`
	KMSEncryptedDEK     string `json:"kms_encrypted_dek"`
	EncryptedPrivateKey string `json:"encrypted_private_key"`
	PublicKey           []byte `json:"public_key"`
	KeyEpoch            int64  `json:"key_epoch"`
	KMSKeyID            string `json:"kms_key_id"`
}

// MasterKey is the key that the enclave holds. Store its row when NewlyGenerated, and after a rewrap.
type MasterKey struct {
	MasterKeyRow
	NewlyGenerated bool   `json:"newly_generated"`
	Origin         string `json:"origin"`
	BootID         string `json:"boot_id"`
	Attestation    []byte `json:"attestation_document,omitempty"`
	Nonce          []byte `json:"-"`
}

// MasterKeyInit says which key to take into use: a stored row, or a new one under a KMS key (empty where one is allowed).
type MasterKeyInit struct {
	EnclaveID string
	Row       *MasterKeyRow
	KMSKeyID  string
	Attest    bool
}

func (r *MasterKeyRow) fields() map[string]any {
	return map[string]any{
		"enclave_id": r.EnclaveID, "kms_encrypted_dek": r.KMSEncryptedDEK, "encrypted_private_key": r.EncryptedPrivateKey,
		"public_key": r.PublicKey, "key_epoch": r.KeyEpoch, "kms_key_id": r.KMSKeyID,
	}
}

func (c *Client) masterKey(ctx context.Context, request map[string]any, attest bool, credentials CredentialSource) (*MasterKey, error) {
	var nonce []byte
	if attest {
		nonce = randomBytes(32)
		request["nonce"] = nonce
	}
	var reply MasterKey
	if err := c.Request(ctx, request, credentials, &reply); err != nil {
		return nil, err
	}
	reply.Nonce = nonce
	if reply.KMSEncryptedDEK == "" || reply.EncryptedPrivateKey == "" || len(reply.PublicKey) == 0 {
		return nil, unexpectedReply(errors.New("it has no whole row"))
	}
	return &reply, nil
}

// MasterKeyInit takes a stored row into use; without one, makes a key.
func (c *Client) MasterKeyInit(ctx context.Context, init MasterKeyInit, credentials CredentialSource) (*MasterKey, error) {
	request := map[string]any{}
	if init.Row != nil {
		request = init.Row.fields()
	}
	request["type"] = "master_key.init"
	put(request, "enclave_id", init.EnclaveID)
	put(request, "kms_key_id", init.KMSKeyID)
	return c.masterKey(ctx, request, init.Attest, credentials)
}

// MasterKeyRewrap wraps the held key, of this epoch, under another KMS key.
func (c *Client) MasterKeyRewrap(ctx context.Context, newKMSKeyID string, epoch int64, attest bool, credentials CredentialSource) (*MasterKey, error) {
	request := map[string]any{"type": "master_key.rewrap", "new_kms_key_id": newKMSKeyID, "key_epoch": epoch}
	return c.masterKey(ctx, request, attest, credentials)
}

// Verify says where the key comes from, by the reply's document.
func (k *MasterKey) Verify(expected Expected) (*Origin, error) {
	if k.Attestation == nil || k.Nonce == nil {
		return nil, errors.New("there is no attestation document: ask with Attest")
	}
	about := KeySubject{Purpose: "master", Subject: k.EnclaveID, PublicPart: k.PublicKey, KeyARN: k.KMSKeyID, Epoch: k.KeyEpoch}
	return VerifyKeyDocument(k.Attestation, expected, about, DocumentFields{Nonce: k.Nonce})
}

// MasterKeyVerify checks that a stored row opens. The held key does not change.
func (c *Client) MasterKeyVerify(ctx context.Context, row *MasterKeyRow, credentials CredentialSource) error {
	request := row.fields()
	request["type"] = "master_key.verify"
	return c.Request(ctx, request, credentials, nil)
}

// MasterKeyInfo is the public part of the held key.
type MasterKeyInfo struct {
	EnclaveID string `json:"enclave_id"`
	PublicKey []byte `json:"public_key"`
	KMSKeyID  string `json:"kms_key_id"`
	KeyEpoch  int64  `json:"key_epoch"`
	BootID    string `json:"boot_id"`
	Origin    string `json:"origin"`
}

// MasterKeyInfo asks for the public part of the held key.
func (c *Client) MasterKeyInfo(ctx context.Context) (*MasterKeyInfo, error) {
	var reply MasterKeyInfo
	err := c.Request(ctx, map[string]any{"type": "master_key.public_info"}, nil, &reply)
	return &reply, err
}

// MasterKeySignature is 64 bytes: r ‖ s, or BIP-340's. RecoveryID is of ECDSA.
type MasterKeySignature struct {
	Signature  []byte `json:"signature"`
	PublicKey  []byte `json:"public_key"`
	RecoveryID *int   `json:"recovery_id"`
	BootID     string `json:"boot_id"`
}

// MasterKeySign signs 32 bytes. scheme is "ecdsa" or "schnorr".
func (c *Client) MasterKeySign(ctx context.Context, digest []byte, scheme string) (*MasterKeySignature, error) {
	request := map[string]any{"type": "master_key.sign", "digest": base64.StdEncoding.EncodeToString(digest), "scheme": scheme}
	var reply MasterKeySignature
	if err := c.Request(ctx, request, nil, &reply); err != nil {
		return nil, err
	}
	if len(reply.Signature) != 64 {
		return nil, unexpectedReply(errors.New("the signature does not have 64 bytes"))
	}
	return &reply, nil
}
