package denclave

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// HPKE (RFC 9180) for a sender: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, in mode base or auth. The standard library's crypto/hpke has no mode
// auth.

var (
	kemSuite  = []byte("KEM\x00\x20")
	hpkeSuite = []byte("HPKE\x00\x20\x00\x01\x00\x02")
)

func hpkeExtract(suite, salt []byte, label string, value []byte) ([]byte, error) {
	labeled := append(append(append([]byte("HPKE-v1"), suite...), label...), value...)
	return hkdf.Extract(sha256.New, labeled, salt)
}

func hpkeExpand(suite, secret []byte, label string, info []byte, length int) ([]byte, error) {
	labeled := binary.BigEndian.AppendUint16(nil, uint16(length))
	labeled = append(append(append(append(labeled, "HPKE-v1"...), suite...), label...), info...)
	return hkdf.Expand(sha256.New, secret, string(labeled), length)
}

// hpkeSender is the context of one message.
type hpkeSender struct{ enc, key, nonce, exporter []byte }

// newHPKESender makes a context for a public key. With a sender key, mode auth. The ephemeral key is random unless given.
func newHPKESender(recipient, info []byte, senderKey, ephemeral *ecdh.PrivateKey) (*hpkeSender, error) {
	public, err := ecdh.X25519().NewPublicKey(recipient)
	if err != nil {
		return nil, err
	}
	if ephemeral == nil {
		if ephemeral, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return nil, err
		}
	}
	shared, err := ephemeral.ECDH(public)
	if err != nil {
		return nil, err
	}
	sender := &hpkeSender{enc: ephemeral.PublicKey().Bytes()}
	schedule := []byte{0}
	kemContext := append(append([]byte(nil), sender.enc...), recipient...)
	if senderKey != nil {
		own, err := senderKey.ECDH(public)
		if err != nil {
			return nil, err
		}
		schedule[0] = 2
		shared = append(shared, own...)
		kemContext = append(kemContext, senderKey.PublicKey().Bytes()...)
	}
	prk, err := hpkeExtract(kemSuite, nil, "eae_prk", shared)
	if err != nil {
		return nil, err
	}
	secret, err := hpkeExpand(kemSuite, prk, "shared_secret", kemContext, 32)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		label string
		value []byte
	}{{"psk_id_hash", nil}, {"info_hash", info}} {
		hash, err := hpkeExtract(hpkeSuite, nil, part.label, part.value)
		if err != nil {
			return nil, err
		}
		schedule = append(schedule, hash...)
	}
	derived, err := hpkeExtract(hpkeSuite, secret, "secret", nil)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		into   *[]byte
		label  string
		length int
	}{{&sender.key, "key", 32}, {&sender.nonce, "base_nonce", 12}, {&sender.exporter, "exp", 32}} {
		if *part.into, err = hpkeExpand(hpkeSuite, derived, part.label, schedule, part.length); err != nil {
			return nil, err
		}
	}
	return sender, nil
}

// seal gives the one message of this context.
func (s *hpkeSender) seal(plaintext, additional []byte) ([]byte, error) {
	gcm, err := newGCM(s.key)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(nil, s.nonce, plaintext, additional), nil
}

func (s *hpkeSender) export(context []byte) ([]byte, error) {
	return hpkeExpand(hpkeSuite, s.exporter, "sec", context, 32)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
