// Verifies a receipt of denclave offline, with the COSE library go-cose.
//
//	usage: verify-receipt [-result FILE] [-input FILE] [-root FILE] PROOF PCR0
//
// PROOF is JSON as `denclavectl client process --receipt` writes it: receipt, attestation_document and, as far as they
// are disclosed, result_salt and input_salt, all in base64. PCR0 is that of the build, in hex. -root replaces AWS's root
// certificate (DER), for a rehearsal. docs/protocol.md of the project lists what is checked.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

const (
	// SHA-256 of the DER of AWS's Nitro root G1.
	awsRoot = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
	skew    = 300
	day     = 86_400
	saltLen = 48
)

type proof struct {
	Receipt    []byte `json:"receipt"`
	Document   []byte `json:"attestation_document"`
	ResultSalt []byte `json:"result_salt"`
	InputSalt  []byte `json:"input_salt"`
}

type document struct {
	Timestamp   uint64         `cbor:"timestamp"`
	PCRs        map[int][]byte `cbor:"pcrs"`
	Certificate []byte         `cbor:"certificate"`
	CABundle    [][]byte       `cbor:"cabundle"`
	PublicKey   []byte         `cbor:"public_key"`
	UserData    []byte         `cbor:"user_data"`
}

// The user_data of a receipt key's document.
type about struct {
	Version   int    `cbor:"v"`
	Purpose   string `cbor:"purpose"`
	Config    []byte `cbor:"config"`
	NotBefore int64  `cbor:"not_before"`
	NotAfter  int64  `cbor:"not_after"`
}

type claims struct {
	IssuedAt      int64  `cbor:"6,keyasint"`
	ID            []byte `cbor:"7,keyasint"`
	Nonce         []byte `cbor:"10,keyasint"`
	Type          string `cbor:"-65537,keyasint"`
	Request       []byte `cbor:"-65538,keyasint"`
	Result        []byte `cbor:"-65539,keyasint"`
	Input         []byte `cbor:"-65540,keyasint"`
	Outcome       string `cbor:"-65541,keyasint"`
	Configuration []byte `cbor:"-65542,keyasint"`
}

// Verifies an attestation document as of its own time.
func verifyDocument(raw []byte, rootSHA256, pcr0 string) (*document, error) {
	var message cose.UntaggedSign1Message
	if err := message.UnmarshalCBOR(raw); err != nil {
		return nil, err
	}
	if algorithm, err := message.Headers.Protected.Algorithm(); err != nil || algorithm != cose.AlgorithmES384 {
		return nil, errors.New("the document is not signed with ES384")
	}
	var found document
	if err := cbor.Unmarshal(message.Payload, &found); err != nil {
		return nil, err
	}
	if len(found.CABundle) == 0 {
		return nil, errors.New("the document has no certificates")
	}
	if hash := sha256.Sum256(found.CABundle[0]); hex.EncodeToString(hash[:]) != rootSHA256 {
		return nil, errors.New("the document begins at another root")
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for index, der := range found.CABundle {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		if index == 0 {
			roots.AddCert(certificate)
		} else {
			intermediates.AddCert(certificate)
		}
	}
	leaf, err := x509.ParseCertificate(found.Certificate)
	if err != nil {
		return nil, err
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   time.UnixMilli(int64(found.Timestamp)),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return nil, err
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmES384, leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := message.Verify(nil, verifier); err != nil {
		return nil, err
	}
	for index := range 3 {
		if len(bytes.Trim(found.PCRs[index], "\x00")) == 0 {
			return nil, errors.New("the document is of an enclave in debug mode")
		}
	}
	if hex.EncodeToString(found.PCRs[0]) != strings.ToLower(pcr0) {
		return nil, errors.New("the document is of another build")
	}
	return &found, nil
}

func verifyReceipt(given proof, rootSHA256, pcr0 string) (*claims, error) {
	attested, err := verifyDocument(given.Document, rootSHA256, pcr0)
	if err != nil {
		return nil, err
	}
	var key about
	if err := cbor.Unmarshal(attested.UserData, &key); err != nil {
		return nil, err
	}
	if key.Version != 1 || key.Purpose != "receipt" || len(attested.PublicKey) != ed25519.PublicKeySize {
		return nil, errors.New("the document is of no receipt key")
	}
	if made := int64(attested.Timestamp / 1000); made < key.NotBefore-skew || made > key.NotAfter+day+skew {
		return nil, errors.New("the document is of another time")
	}

	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(given.Receipt); err != nil {
		return nil, err
	}
	id := sha256.Sum256(attested.PublicKey)
	named, _ := message.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
	if !bytes.Equal(named, id[:]) {
		return nil, errors.New("the receipt is signed with another key")
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(attested.PublicKey))
	if err != nil {
		return nil, err
	}
	if err := message.Verify(nil, verifier); err != nil {
		return nil, err
	}
	var found claims
	if err := cbor.Unmarshal(message.Payload, &found); err != nil {
		return nil, err
	}
	if found.IssuedAt < key.NotBefore-skew || found.IssuedAt > key.NotAfter+skew {
		return nil, errors.New("the key was not in use then")
	}
	if !bytes.Equal(found.Configuration, key.Config) {
		return nil, errors.New("the receipt is of another configuration")
	}
	return &found, nil
}

// Other lengths could move bytes between the salt and what it hides. Only master_key.sign, whose signatures and digests
// have a fixed length, may have no salt.
func verifyCommitment(found *claims, commitment, data, salt []byte, signedLen int) error {
	isSign := found.Type == "master_key.sign"
	if isSign && len(data) != signedLen || len(salt) != saltLen && (len(salt) != 0 || !isSign) {
		return errors.New("the salt, or what is disclosed, has another length")
	}
	if hash := sha512.Sum384(append(bytes.Clone(salt), data...)); !bytes.Equal(hash[:], commitment) {
		return errors.New("the receipt commits to something else")
	}
	return nil
}

func run() error {
	result := flag.String("result", "", "file with the result")
	input := flag.String("input", "", "file with the input")
	rootFile := flag.String("root", "", "root certificate in place of AWS's, DER")
	flag.Parse()
	if flag.NArg() != 2 {
		return errors.New("give the proof and PCR0")
	}
	text, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		return err
	}
	var given proof
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	root := awsRoot
	if *rootFile != "" {
		der, err := os.ReadFile(*rootFile)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(der)
		root = hex.EncodeToString(hash[:])
	}
	found, err := verifyReceipt(given, root, flag.Arg(1))
	if err != nil {
		return err
	}
	for _, disclosed := range []struct {
		file             string
		commitment, salt []byte
		signedLen        int
	}{{*result, found.Result, given.ResultSalt, 64}, {*input, found.Input, given.InputSalt, 32}} {
		if disclosed.file == "" {
			continue
		}
		data, err := os.ReadFile(disclosed.file)
		if err != nil {
			return err
		}
		if err := verifyCommitment(found, disclosed.commitment, data, disclosed.salt, disclosed.signedLen); err != nil {
			return err
		}
	}
	fmt.Println(found.Type, found.Outcome, found.IssuedAt)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}
