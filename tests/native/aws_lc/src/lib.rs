//! AWS-LC's AEAD, SHA-384 and HKDF under their plain symbol names. The crate's own symbols carry a version prefix, so each function here forwards to one.
#![allow(non_snake_case)]
#![allow(clippy::missing_safety_doc)]

use aws_lc_sys as lc;
use std::os::raw::c_int;

#[no_mangle]
pub unsafe extern "C" fn EVP_aead_aes_256_gcm() -> *const lc::EVP_AEAD {
    lc::EVP_aead_aes_256_gcm()
}

#[no_mangle]
pub unsafe extern "C" fn EVP_AEAD_CTX_new(
    aead: *const lc::EVP_AEAD,
    key: *const u8,
    key_len: usize,
    tag_len: usize,
) -> *mut lc::EVP_AEAD_CTX {
    lc::EVP_AEAD_CTX_new(aead, key, key_len, tag_len)
}

#[no_mangle]
pub unsafe extern "C" fn EVP_AEAD_CTX_free(ctx: *mut lc::EVP_AEAD_CTX) {
    lc::EVP_AEAD_CTX_free(ctx)
}

#[no_mangle]
pub unsafe extern "C" fn EVP_AEAD_CTX_seal(
    ctx: *const lc::EVP_AEAD_CTX,
    out: *mut u8,
    out_len: *mut usize,
    max_out_len: usize,
    nonce: *const u8,
    nonce_len: usize,
    input: *const u8,
    in_len: usize,
    ad: *const u8,
    ad_len: usize,
) -> c_int {
    lc::EVP_AEAD_CTX_seal(ctx, out, out_len, max_out_len, nonce, nonce_len, input, in_len, ad, ad_len)
}

#[no_mangle]
pub unsafe extern "C" fn EVP_AEAD_CTX_open(
    ctx: *const lc::EVP_AEAD_CTX,
    out: *mut u8,
    out_len: *mut usize,
    max_out_len: usize,
    nonce: *const u8,
    nonce_len: usize,
    input: *const u8,
    in_len: usize,
    ad: *const u8,
    ad_len: usize,
) -> c_int {
    lc::EVP_AEAD_CTX_open(ctx, out, out_len, max_out_len, nonce, nonce_len, input, in_len, ad, ad_len)
}

#[no_mangle]
pub unsafe extern "C" fn SHA384(data: *const u8, len: usize, out: *mut u8) -> *mut u8 {
    lc::SHA384(data, len, out)
}

#[no_mangle]
pub unsafe extern "C" fn EVP_sha384() -> *const lc::EVP_MD {
    lc::EVP_sha384()
}

#[no_mangle]
pub unsafe extern "C" fn HKDF(
    out_key: *mut u8,
    out_len: usize,
    digest: *const lc::EVP_MD,
    secret: *const u8,
    secret_len: usize,
    salt: *const u8,
    salt_len: usize,
    info: *const u8,
    info_len: usize,
) -> c_int {
    lc::HKDF(out_key, out_len, digest, secret, secret_len, salt, salt_len, info, info_len)
}

#[no_mangle]
pub unsafe extern "C" fn ED25519_keypair_from_seed(out_public_key: *mut u8, out_private_key: *mut u8, seed: *const u8) {
    lc::ED25519_keypair_from_seed(out_public_key, out_private_key, seed)
}

#[no_mangle]
pub unsafe extern "C" fn ED25519_sign(
    out_sig: *mut u8,
    message: *const u8,
    message_len: usize,
    private_key: *const u8,
) -> c_int {
    lc::ED25519_sign(out_sig, message, message_len, private_key)
}
