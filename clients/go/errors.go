package denclave

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
)

// Kind says where an error comes from.
type Kind string

const (
	// KindConnect: there is no connection (connect_failed), or the address cannot be used (invalid_address).
	KindConnect Kind = "connect"
	// KindNoReply: the connection ended, or nothing came in time. The request may or may not have been carried out: connect again.
	KindNoReply Kind = "no_reply"
	// KindService: the service refused the request.
	KindService Kind = "service"
	// KindReply: the reply is not what this client can use, or a result does not open (decrypt_failed).
	KindReply Kind = "reply"
	// KindAttestation: a document was refused; the code says by which check.
	KindAttestation Kind = "attestation"
	// KindSealed: a sealed request has no sealed reply of its own. It may have been carried out.
	KindSealed Kind = "sealed"
)

// Error is every error of this package but those of wrong arguments. Code is stable; Hint says what to do; Details says what was found.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	Hint    string
	Details string
	// WorkflowCode is the workflow's own code, with workflow_failed.
	WorkflowCode string
	// Err is the cause.
	Err error
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code is the code of an error of this package; empty for any other.
func Code(err error) string {
	var found *Error
	if errors.As(err, &found) {
		return found.Code
	}
	return ""
}

//go:embed error_codes.json
var errorCodesJSON []byte

// CodeWords says what an error code of the service means, and what to do about it.
type CodeWords struct {
	Means string `json:"means"`
	Do    string `json:"do"`
}

// ErrorCodes are the codes of error replies. Made from the service's own table.
var ErrorCodes = func() (codes map[string]CodeWords) {
	if err := json.Unmarshal(errorCodesJSON, &codes); err != nil {
		panic(err)
	}
	return codes
}()

const noReplyHint = "The request may or may not have been carried out. Connect again."

func noReply(address string, why error) *Error {
	message := fmt.Sprintf("No reply from %s: %v", address, why)
	return &Error{Kind: KindNoReply, Code: "no_reply", Message: message, Hint: noReplyHint, Details: why.Error(), Err: why}
}

func refusedDocument(code, format string, values ...any) *Error {
	details := fmt.Sprintf(format, values...)
	hint := "Do not trust this enclave: it is not shown to be the one expected."
	return &Error{Kind: KindAttestation, Code: "attestation_" + code, Message: "Attestation document refused: " + details, Hint: hint, Details: details}
}

func unexpectedReply(err error) *Error {
	hint := "Check that the client and the enclave have the same version."
	return &Error{Kind: KindReply, Code: "unexpected_reply", Message: fmt.Sprintf("The reply is malformed: %v", err), Hint: hint, Err: err}
}

func sealedProblem(code, message string, err error) *Error {
	hint := "Do not trust what came. The request may have been carried out; the next one attests anew."
	return &Error{Kind: KindSealed, Code: code, Message: message, Hint: hint, Err: err}
}
