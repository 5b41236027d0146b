// Runs ../../conformance.json with this module: conformance <list> <values>. Prints a JSON object: what each step gave, or its error.
package main

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	denclave "github.com/denclave/denclave/clients/go"
)

type object = map[string]any

var credentials = denclave.CredentialFunc(func(context.Context) (denclave.Credentials, error) {
	return denclave.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
})

type step struct {
	Name   string  `json:"name"`
	Call   string  `json:"call"`
	Client any     `json:"client"`
	With   object  `json:"with"`
	Save   string  `json:"save"`
	File   string  `json:"file"`
	At     string  `json:"at"`
	Nonce  *string `json:"nonce"`
	Flip   *int    `json:"flip"`
}

type runner struct {
	values    object
	clients   map[string]*denclave.Client
	masterKey *denclave.MasterKey
}

// fill puts in the values of $names; `...` spreads an object.
func (r *runner) fill(value any) any {
	switch value := value.(type) {
	case string:
		if name, isName := strings.CutPrefix(value, "$"); isName {
			return r.values[name]
		}
	case []any:
		filled := make([]any, len(value))
		for index, item := range value {
			filled[index] = r.fill(item)
		}
		return filled
	case object:
		filled := object{}
		if spread, isThere := value["..."]; isThere {
			maps.Copy(filled, r.fill(spread).(object))
		}
		for key, item := range value {
			if key != "..." {
				filled[key] = r.fill(item)
			}
		}
		return filled
	}
	return value
}

func text(from object, name string) string {
	found, _ := from[name].(string)
	return found
}

func unbase64(from object, name string) []byte {
	raw, isThere := from[name].(string)
	if !isThere {
		return nil
	}
	decoded, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		panic(err)
	}
	return decoded
}

func unhex(from object, name string) []byte {
	decoded, err := hex.DecodeString(text(from, name))
	if err != nil {
		panic(err)
	}
	return decoded
}

// convert gives a value in the form of another type, by its JSON.
func convert[T any](value any) (into T) {
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, &into)
	}
	if err != nil {
		panic(err)
	}
	return into
}

func pcrs(value any) denclave.PCRs {
	found := denclave.PCRs{}
	for key, pcr := range value.(object) {
		index, err := strconv.Atoi(key)
		if err != nil {
			panic(err)
		}
		found[index] = pcr.(string)
	}
	return found
}

func (r *runner) expected(given object) denclave.Expected {
	found := denclave.Expected{ConfigurationHash: unbase64(given, "configuration_hash")}
	if builds, areSeveral := given["pcrs"].([]any); areSeveral {
		for _, build := range builds {
			found.PCRs = append(found.PCRs, pcrs(build))
		}
	} else {
		found.PCRs = []denclave.PCRs{pcrs(given["pcrs"])}
	}
	if given["aws_root"] == nil {
		found.InsecureRoot = unbase64(r.values, "root")
		if own := unbase64(given, "root"); own != nil {
			found.InsecureRoot = own
		}
	}
	return found
}

func (r *runner) client(ctx context.Context, which any) (*denclave.Client, error) {
	ofBuild := func(pcr0 any) denclave.Expected { return r.expected(object{"pcrs": object{"0": pcr0}}) }
	if given, isOwn := r.fill(which).(object); isOwn {
		options := denclave.Options{Timeout: 20 * time.Second}
		if ms, isThere := given["timeout_ms"].(float64); isThere {
			options.Timeout = time.Duration(ms) * time.Millisecond
		}
		key := unbase64(given, "client_key")
		if key == nil && given["pcr0"] == nil {
			return denclave.Connect(ctx, text(given, "address"), options)
		}
		if key != nil {
			var err error
			if options.ClientKey, err = ecdh.X25519().NewPrivateKey(key); err != nil {
				return nil, err
			}
		}
		pcr0 := given["pcr0"]
		if pcr0 == nil {
			pcr0 = r.values["pcr0"]
		}
		return denclave.ConnectSealed(ctx, text(given, "address"), ofBuild(pcr0), options)
	}
	name, _ := which.(string)
	if found := r.clients[name]; found != nil {
		return found, nil
	}
	address := text(r.values, "address")
	made, err := denclave.Connect(ctx, address, denclave.Options{})
	if name == "sealed" {
		made, err = denclave.ConnectSealed(ctx, address, ofBuild(r.values["pcr0"]), denclave.Options{})
	}
	r.clients[name] = made
	return made, err
}

func origin(found *denclave.Origin, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	given := object{"origin": found.Origin}
	if !found.GeneratedAt.IsZero() {
		given["generated_at"] = found.GeneratedAt.Format("2006-01-02T15:04:05.000Z")
	}
	return given, nil
}

func (r *runner) call(ctx context.Context, client *denclave.Client, name string, given object) (any, error) {
	switch name {
	case "request":
		var reply object
		err := client.Request(ctx, given, nil, &reply)
		return reply, err
	case "configure":
		key := denclave.SessionKey{EncryptedTSK: text(given, "encrypted_tsk"), KMSKeyID: text(given, "kms_key_id")}
		return object{}, client.Configure(ctx, key, credentials)
	case "process":
		run := client.Process
		if given["bind"] == false {
			run = client.ProcessUnbound
		}
		result, err := run(ctx, unhex(given, "key"), []byte(text(given, "text")))
		return object{"text": string(result)}, err
	case "attest":
		found, err := client.Attest(ctx, r.expected(given), unbase64(given, "user_data"))
		if err != nil {
			return nil, err
		}
		return object{"module_id": found.ModuleID, "pcr0": found.PCRs[0], "debug": found.Debug}, nil
	case "create_account":
		return client.CreateAccount(ctx, text(given, "name"), text(given, "key_id"), given["attest"] == true, credentials)
	case "verify_account":
		account := convert[denclave.Account](given["account"])
		return origin(account.Verify(r.expected(given)))
	case "sign":
		account := convert[denclave.Account](given["account"])
		return client.Sign(ctx, &account, given["payload"].(object), credentials)
	case "sign_batch":
		account := convert[denclave.Account](given["account"])
		signatures, err := client.SignBatch(ctx, &account, convert[[]denclave.Payload](given["payloads"]), credentials)
		return object{"signatures": signatures}, err
	case "master_key_init":
		init := denclave.MasterKeyInit{EnclaveID: fmt.Sprint(given["enclave_id"]), KMSKeyID: text(given, "kms_key_id"), Attest: given["attest"] == true}
		if given["row"] != nil {
			row := convert[denclave.MasterKeyRow](given["row"])
			init.Row = &row
		}
		return r.keep(client.MasterKeyInit(ctx, init, credentials))
	case "master_key_rewrap":
		return r.keep(client.MasterKeyRewrap(ctx, text(given, "new_kms_key_id"), int64(given["key_epoch"].(float64)), false, credentials))
	case "verify_master_key":
		return origin(r.masterKey.Verify(r.expected(given)))
	case "master_key_verify":
		row := convert[denclave.MasterKeyRow](given["row"])
		return object{}, client.MasterKeyVerify(ctx, &row, credentials)
	case "master_key_info":
		return client.MasterKeyInfo(ctx)
	case "master_key_sign":
		scheme := text(given, "scheme")
		if scheme == "" {
			scheme = "ecdsa"
		}
		return client.MasterKeySign(ctx, unhex(given, "digest"), scheme)
	case "verify_key_document":
		about := given["document"].(object)
		subject := denclave.KeySubject{
			Purpose: text(about, "purpose"), Subject: text(about, "subject"), PublicPart: unbase64(about, "public_part"),
			KeyARN: text(about, "key_arn"), Epoch: int64(about["epoch"].(float64)),
		}
		fields := denclave.DocumentFields{Nonce: unbase64(about, "nonce"), AsMade: true}
		return origin(denclave.VerifyKeyDocument(unbase64(about, "document"), r.expected(given), subject, fields))
	}
	return nil, fmt.Errorf("no such call: %s", name)
}

func (r *runner) keep(key *denclave.MasterKey, err error) (any, error) {
	if err == nil {
		r.masterKey = key
	}
	return key, err
}

func (r *runner) run(each step) (any, error) {
	ctx := context.Background()
	client, err := r.client(ctx, each.Client)
	if err != nil {
		return nil, err
	}
	found, err := r.call(ctx, client, each.Call, r.fill(each.With).(object))
	if err == nil && each.Save != "" {
		r.values[each.Save] = convert[object](found)
	}
	return found, err
}

func (r *runner) document(each step) (any, error) {
	real := r.values["documents"].(object)[each.File].(object)
	document := unbase64(real, "document")
	if each.Flip != nil {
		document[(*each.Flip+len(document))%len(document)] ^= 1
	}
	fields := denclave.DocumentFields{Nonce: unbase64(real, "nonce"), AsMade: each.At == "made"}
	if each.Nonce != nil {
		fields.Nonce = unbase64(object{"nonce": *each.Nonce}, "nonce")
	}
	fields.InsecureSkipNonce = fields.Nonce == nil
	if !fields.AsMade {
		var err error
		if fields.At, err = time.Parse(time.RFC3339, each.At); err != nil {
			return nil, err
		}
	}
	expected := denclave.Expected{PCRs: []denclave.PCRs{{0: text(real, "pcr0")}}, InsecureRoot: unbase64(real, "root")}
	found, err := denclave.VerifyDocument(document, expected, fields)
	if err != nil {
		return nil, err
	}
	return object{"debug": found.Debug}, nil
}

func outcome(found any, err error) object {
	var problem *denclave.Error
	switch {
	case err == nil:
		return object{"gave": found}
	case errors.As(err, &problem):
		return object{"error": object{
			"kind": problem.Kind, "code": problem.Code, "message": err.Error(), "hint": problem.Hint != "", "details": problem.Details != "",
		}}
	default:
		return object{"error": object{"kind": "argument", "message": err.Error()}}
	}
}

func read(path string, into any) {
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		panic(err)
	}
}

func main() {
	var list struct {
		Steps     []step `json:"steps"`
		Documents []step `json:"documents"`
	}
	run := &runner{clients: map[string]*denclave.Client{}}
	read(os.Args[1], &list)
	read(os.Args[2], &run.values)
	outcomes := object{}
	for _, each := range list.Steps {
		outcomes[each.Name] = outcome(run.run(each))
	}
	for _, each := range list.Documents {
		outcomes[each.Name] = outcome(run.document(each))
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		panic(err)
	}
}
