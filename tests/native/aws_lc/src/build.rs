//! AWS-LC gives each thread that uses it a destructor, which runs when the thread ends. `deno test` closes a file's libraries when the file is done,
//! while its threads go on: the library stays mapped, or the end of such a thread would be a crash.
fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
