package denclave

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// awsNitroRoot is the DER of AWS's Nitro root G1, of the commercial partitions. AWS publishes it, and the SHA-256 641a0321…79bb5b.
var awsNitroRoot = func() []byte {
	der, err := base64.StdEncoding.DecodeString(strings.Join([]string{
		"MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTELMAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UECwwDQVdTMRswGQYD",
		"VQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4MTQyODA1WjBJMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQW1hem9uMQwwCgYDVQQL",
		"DANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEGBSuBBAAiA2IABPwCVOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb",
		"48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZEh8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkF",
		"R+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqGSM49BAMDA2kAMGYCMQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPW",
		"rfMCMQCi85sWBbJwKKXdS6BptQFuZbT73o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6NIwLz3/Y=",
	}, ""))
	if err != nil {
		panic(err)
	}
	return der
}()

const (
	pcrLength      = 48
	maxDocument    = 16 << 10
	maxCertificate = 1024
	maxCAs         = 8
	maxSkew        = 5 * time.Minute
)

// PCRs of one build: hex of 96 digits by index.
type PCRs map[int]string

// Expected says which enclaves are trusted.
type Expected struct {
	// PCRs of the accepted builds: each has PCR0 (the image) or PCR8 (who signed it).
	PCRs []PCRs
	// ConfigurationHash is the hash of the enclave's measured configuration, 32 bytes. Any, unless given.
	ConfigurationHash []byte
	// AllowDebug accepts an enclave in debug mode, whose memory the parent can read.
	AllowDebug bool
	// InsecureRoot is the DER of another root than AWS's, for development: a simulated enclave's.
	InsecureRoot []byte
}

func (e Expected) check() error {
	if len(e.PCRs) == 0 {
		return errors.New("no build is expected, so that none would pass")
	}
	for _, build := range e.PCRs {
		for index, value := range build {
			raw, err := hex.DecodeString(value)
			if index < 0 || index > 31 || err != nil || len(raw) != pcrLength || isZero(raw) {
				return fmt.Errorf("PCR %d is not 96 hex digits of an enclave that is not in debug mode", index)
			}
		}
		if build[0] == "" && build[8] == "" {
			return errors.New("neither PCR0 (the image) nor PCR8 (who signed it) is expected: any enclave would pass")
		}
	}
	return nil
}

func isZero(raw []byte) bool {
	return !slices.ContainsFunc(raw, func(each byte) bool { return each != 0 })
}

// Document is a verified document. PCRs are lower-case hex.
type Document struct {
	ModuleID  string
	Timestamp time.Time
	PCRs      PCRs
	Debug     bool
	PublicKey []byte
	UserData  []byte
	Nonce     []byte
}

// Origin is what a document says of a key. Only "generated" means that the key has never been outside an enclave.
type Origin struct {
	Origin            string
	GeneratedAt       time.Time
	ConfigurationHash []byte
	Document          *Document
}

// DocumentFields are what a document must have, and when it is verified.
type DocumentFields struct {
	// Nonce of the request.
	Nonce []byte
	// InsecureSkipNonce accepts a document that may be a replay: for development.
	InsecureSkipNonce bool
	// UserData and PublicKey are not compared where they are nil.
	UserData  []byte
	PublicKey []byte
	// At is the time to verify at, now unless given. AsMade verifies a stored document as of its own time, which proves its origin, not that the enclave
	// still runs.
	At     time.Time
	AsMade bool
}

// readDocument gives the fields, and what is signed.
type readDocument struct {
	moduleID                      string
	timestamp                     int64
	pcrs                          map[int][]byte
	chain                         [][]byte
	publicKey, userData, nonce    []byte
	protected, payload, signature []byte
}

func bytesOf(value any, least, most int) ([]byte, bool) {
	raw, isBytes := value.([]byte)
	return raw, isBytes && len(raw) >= least && len(raw) <= most
}

var errField = errors.New("a field is missing, or of another type")

func parseDocument(document []byte) (*readDocument, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("it has %d bytes", len(document))
	}
	outer, err := cborDecode(document)
	if err != nil {
		return nil, err
	}
	parts, _ := outer.([]any)
	if len(parts) != 4 {
		return nil, errField
	}
	var found readDocument
	var hasParts [3]bool
	found.protected, hasParts[0] = bytesOf(parts[0], 0, maxDocument)
	found.payload, hasParts[1] = bytesOf(parts[2], 0, maxDocument)
	found.signature, hasParts[2] = bytesOf(parts[3], 96, 96)
	unprotected, isMap := parts[1].(map[any]any)
	if hasParts != [3]bool{true, true, true} || !isMap || len(unprotected) != 0 {
		return nil, errField
	}
	header, err := cborDecode(found.protected)
	if fields, _ := header.(map[any]any); err != nil || len(fields) != 1 || fields[int64(1)] != int64(-35) {
		return nil, refusedDocument("algorithm", "it is not signed by ES384")
	}
	inner, err := cborDecode(found.payload)
	if err != nil {
		return nil, err
	}
	fields, _ := inner.(map[any]any)
	if _, isTPM := fields["nitrotpm_pcrs"]; isTPM {
		return nil, refusedDocument("nitrotpm", "it is of an instance's NitroTPM, not of an enclave")
	}
	return &found, found.readFields(fields)
}

func (d *readDocument) readFields(fields map[any]any) error {
	var isText, isTime bool
	d.moduleID, isText = fields["module_id"].(string)
	d.timestamp, isTime = fields["timestamp"].(int64)
	pcrs, _ := fields["pcrs"].(map[any]any)
	bundle, _ := fields["cabundle"].([]any)
	if !isText || !isTime || d.timestamp <= 0 || fields["digest"] != "SHA384" || len(bundle) < 1 || len(bundle) > maxCAs {
		return errField
	}
	d.pcrs = map[int][]byte{}
	for key, value := range pcrs {
		index, isIndex := key.(int64)
		pcr, isPCR := bytesOf(value, pcrLength, pcrLength)
		if !isIndex || index < 0 || index > 31 || !isPCR {
			return errField
		}
		d.pcrs[int(index)] = pcr
	}
	for index := range 3 {
		if d.pcrs[index] == nil {
			return errField
		}
	}
	for _, each := range append(slices.Clone(bundle), fields["certificate"]) {
		der, isDER := bytesOf(each, 1, maxCertificate)
		if !isDER {
			return errField
		}
		d.chain = append(d.chain, der)
	}
	for name, into := range map[string]*[]byte{"public_key": &d.publicKey, "user_data": &d.userData, "nonce": &d.nonce} {
		if value := fields[name]; value != nil {
			var isBytes bool
			if *into, isBytes = bytesOf(value, 0, 1024); !isBytes {
				return errField
			}
		}
	}
	return nil
}

func verifyChain(chain [][]byte, times ...time.Time) (*ecdsa.PublicKey, error) {
	refuse := func(index int, what string) error { return refusedDocument("chain", "certificate %d %s", index, what) }
	certificates := make([]*x509.Certificate, len(chain))
	last := len(chain) - 1
	for index, der := range chain {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, refuse(index, "cannot be read: "+err.Error())
		}
		certificates[index] = certificate
		for _, extension := range certificate.Extensions {
			if id := extension.Id.String(); extension.Critical && id != "2.5.29.19" && id != "2.5.29.15" {
				return nil, refuse(index, "has the unknown critical extension "+id)
			}
		}
		key, isECDSA := certificate.PublicKey.(*ecdsa.PublicKey)
		isP384 := isECDSA && key.Curve == elliptic.P384() && certificate.SignatureAlgorithm == x509.ECDSAWithSHA384
		isLimited := certificate.MaxPathLen > 0 || certificate.MaxPathLenZero
		usage := certificate.KeyUsage
		switch {
		case !isP384:
			return nil, refuse(index, "is not of ES384")
		case !certificate.BasicConstraintsValid:
			return nil, refuse(index, "has no basic constraints")
		case index == last && (certificate.IsCA || usage&x509.KeyUsageDigitalSignature == 0):
			return nil, refuse(index, "may not sign documents")
		case index < last && (!certificate.IsCA || usage&x509.KeyUsageCertSign == 0):
			return nil, refuse(index, "may not sign certificates")
		case index < last && isLimited && certificate.MaxPathLen < last-1-index:
			return nil, refuse(index, "has too many CA certificates below it")
		}
		if index == 0 {
			continue
		}
		parent := certificates[index-1]
		if !bytes.Equal(certificate.RawIssuer, parent.RawSubject) || bytes.Equal(certificate.RawIssuer, certificate.RawSubject) {
			return nil, refuse(index, "names another issuer")
		}
		if err := parent.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature); err != nil {
			return nil, refuse(index, "is not signed by the one before it")
		}
	}
	for index, certificate := range certificates {
		for _, at := range times {
			if at.Before(certificate.NotBefore) || at.After(certificate.NotAfter) {
				return nil, refusedDocument("expired", "certificate %d is not valid at %s", index, at.UTC().Format(time.RFC3339))
			}
		}
	}
	return certificates[last].PublicKey.(*ecdsa.PublicKey), nil
}

// VerifyDocument verifies a document: its form, its chain up to the root, its signature, and what is expected. A refused document is an *Error of
// KindAttestation; wrong arguments are other errors.
func VerifyDocument(document []byte, expected Expected, fields DocumentFields) (*Document, error) {
	if err := expected.check(); err != nil {
		return nil, err
	}
	if fields.Nonce == nil && !fields.InsecureSkipNonce {
		return nil, errors.New("no nonce is expected, so that the document may be a replay")
	}
	found, err := parseDocument(document)
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		err = refusedDocument("malformed", "it cannot be read: %v", err)
	}
	if err != nil {
		return nil, err
	}
	made, at := time.UnixMilli(found.timestamp).UTC(), fields.At
	switch {
	case fields.AsMade:
		at = made
	case at.IsZero():
		at = time.Now()
	}
	root := awsNitroRoot
	if expected.InsecureRoot != nil {
		root = expected.InsecureRoot
	}
	if !bytes.Equal(found.chain[0], root) {
		return nil, refusedDocument("root", "its first CA is not the pinned root")
	}
	key, err := verifyChain(found.chain, made, at)
	if err != nil {
		return nil, err
	}
	digest := sha512.Sum384(cborEncode([]any{"Signature1", found.protected, []byte{}, found.payload}))
	r, s := new(big.Int).SetBytes(found.signature[:48]), new(big.Int).SetBytes(found.signature[48:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, refusedDocument("signature", "it is not signed by its certificate")
	}
	return found.accept(expected, fields, made, at)
}

func (d *readDocument) accept(expected Expected, fields DocumentFields, made, at time.Time) (*Document, error) {
	if made.Sub(at) > maxSkew {
		return nil, refusedDocument("stale", "it was made at %s", made.Format(time.RFC3339))
	}
	debug := isZero(d.pcrs[0]) || isZero(d.pcrs[1]) || isZero(d.pcrs[2])
	if debug && !expected.AllowDebug {
		return nil, refusedDocument("debug", "it is of an enclave in debug mode")
	}
	for _, field := range []struct {
		name         string
		wanted, have []byte
	}{{"nonce", fields.Nonce, d.nonce}, {"user_data", fields.UserData, d.userData}, {"public_key", fields.PublicKey, d.publicKey}} {
		if field.wanted != nil && (field.have == nil || !bytes.Equal(field.wanted, field.have)) {
			return nil, refusedDocument(field.name, "its %s is another one", field.name)
		}
	}
	pcrs := PCRs{}
	for index, value := range d.pcrs {
		pcrs[index] = hex.EncodeToString(value)
	}
	isOf := func(build PCRs) bool {
		for index, value := range build {
			if pcrs[index] != strings.ToLower(value) {
				return false
			}
		}
		return true
	}
	if !slices.ContainsFunc(expected.PCRs, isOf) {
		return nil, refusedDocument("pcr", "its PCRs are of no accepted build; PCR 0 is %s", pcrs[0])
	}
	return &Document{d.moduleID, made, pcrs, debug, d.publicKey, d.userData, d.nonce}, nil
}

// AttestUserData is the user_data of a document that `attest` gave.
func AttestUserData(data, configurationHash []byte) []byte {
	hash := sha256.Sum256(data)
	return cborEncode([]cborPair{{"v", 1}, {"data", hash[:]}, {"config", configurationHash}, {"purpose", "attest"}})
}

// KeySubject is the key that a document is about.
type KeySubject struct {
	// Purpose is "wallet" or "master".
	Purpose string
	// Subject is the account's name, or the enclave's id.
	Subject string
	// PublicPart is the address (20 bytes) or the compressed public key (33 bytes).
	PublicPart []byte
	KeyARN     string
	Epoch      int64
}

// VerifyKeyDocument verifies a document about a key: that the enclave holds it, and whether it generated it.
func VerifyKeyDocument(document []byte, expected Expected, about KeySubject, fields DocumentFields) (*Origin, error) {
	found, err := VerifyDocument(document, expected, fields)
	if err != nil {
		return nil, err
	}
	another := refusedDocument("user_data", "it is about another key, or another row of it")
	decoded, err := cborDecode(found.UserData)
	said, _ := decoded.(map[any]any)
	config, hasConfig := bytesOf(said["config"], 32, 32)
	origin, _ := said["origin"].(string)
	at, hasTime := said["generated_at"].(int64)
	isKnown := (origin == "opened" && said["generated_at"] == nil) || (origin == "generated" && hasTime)
	if err != nil || !hasConfig || !isKnown {
		return nil, refusedDocument("user_data", "it does not say where the key comes from")
	}
	previous := said["previous"]
	if _, isHash := bytesOf(previous, 32, 32); previous != nil && !isHash {
		return nil, another
	}
	data := sha256.Sum256(cborEncode([]any{
		2, about.Purpose, about.Subject, about.PublicPart, about.KeyARN, about.Epoch, origin, said["generated_at"], previous,
	}))
	wanted := cborEncode([]cborPair{
		{"v", 2}, {"data", data[:]}, {"config", config}, {"origin", origin}, {"purpose", about.Purpose}, {"previous", previous},
		{"generated_at", said["generated_at"]},
	})
	if !bytes.Equal(wanted, found.UserData) {
		return nil, another
	}
	if expected.ConfigurationHash != nil && !bytes.Equal(expected.ConfigurationHash, config) {
		return nil, refusedDocument("user_data", "the enclave has another configuration")
	}
	result := &Origin{Origin: origin, ConfigurationHash: config, Document: found}
	if hasTime {
		result.GeneratedAt = time.UnixMilli(at).UTC()
	}
	return result, nil
}
