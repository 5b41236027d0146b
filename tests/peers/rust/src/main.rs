//! The session key service as one would write it in Rust: tokio, serde_json, ring and faster-hex (SIMD), a task a connection, a worker
//! thread a core. It speaks u32 big-endian lengths, and does ping and process; its key comes as hex on the command line. Prints its port.

use std::sync::Arc;

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM, NONCE_LEN};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{json, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MAX_LENGTH: usize = 32 * 1024 * 1024;

struct Service {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Service {
    fn process(&self, request: &Value) -> Option<String> {
        let mut blob = faster_hex::hex_decode_vec(request.get("ciphertext")?.as_str()?.as_bytes()).ok()?;
        if blob.len() < NONCE_LEN {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(&blob[..NONCE_LEN]).ok()?;
        let plaintext = self.key.open_within(nonce, Aad::empty(), &mut blob, NONCE_LEN..).ok()?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + AES_256_GCM.tag_len());
        let mut fresh = [0u8; NONCE_LEN];
        self.random.fill(&mut fresh).ok()?;
        sealed.extend_from_slice(&fresh);
        sealed.extend_from_slice(plaintext);
        let nonce = Nonce::assume_unique_for_key(fresh);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut sealed[NONCE_LEN..]).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(faster_hex::hex_string(&sealed))
    }

    fn answer(&self, body: &[u8]) -> Value {
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return json!({"status": "error", "msg": "invalid_json"});
        };
        match request.get("type").and_then(Value::as_str) {
            Some("ping") => json!({"status": "ok", "msg": "pong"}),
            Some("process") => match self.process(&request) {
                Some(result) => json!({"status": "ok", "result": result}),
                None => json!({"status": "error", "msg": "decrypt_failed"}),
            },
            _ => json!({"status": "error", "msg": "unknown_type"}),
        }
    }
}

async fn serve(mut stream: TcpStream, service: Arc<Service>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut body = Vec::new();
    let mut reply = Vec::new();
    loop {
        let length = stream.read_u32().await? as usize;
        if length > MAX_LENGTH {
            return Ok(());
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        let answer = service.answer(&body);
        reply.clear();
        reply.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut reply, &answer)?;
        let written = (reply.len() - 4) as u32;
        reply[..4].copy_from_slice(&written.to_be_bytes());
        stream.write_all(&reply).await?;
    }
}

#[tokio::main]
async fn main() {
    let key = std::env::args().nth(1).and_then(|text| faster_hex::hex_decode_vec(text.as_bytes()).ok());
    let key = key.expect("usage: rust_service <key, hex>");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"));
    let service = Arc::new(Service { key, random: SystemRandom::new() });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("cannot listen");
    println!("{}", listener.local_addr().expect("no address").port());
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = Arc::clone(&service);
        tokio::spawn(async move { serve(stream, service).await });
    }
}
