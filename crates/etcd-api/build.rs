//! Compiles the protos with `protox`, so that nothing but Rust is needed, and writes the descriptors that reflection serves.

use std::path::PathBuf;

use prost::Message as _;

const PROTOS: [&str; 6] = [
    "authpb/auth.proto",
    "mvccpb/kv.proto",
    "etcdserverpb/rpc.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "steadfast/v1/cluster.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Keys and values stay slices of the buffer they were received in.
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::SmallBuffers").compile_fds(descriptors)?;
    Ok(())
}
