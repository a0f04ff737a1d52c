//! The identity file, read and forged without the program's own code: its layout and its checksum are pinned here.

use std::fs;
use std::path::Path;

/// Both copies, as `node/storage/src/identity.rs` lays them out.
const COPIES: [&str; 2] = ["identity.a", "identity.b"];
const FORMAT_AT: usize = 4;
const SUM_BYTES: usize = 8;

/// Rewrites both copies as a newer program would have written them, with a checksum that fits.
pub fn claim_newer_format(data_dir: &Path, format: u16) {
    for copy in COPIES {
        let path = data_dir.join(copy);
        let mut bytes = fs::read(&path).expect("an identity");
        let end = bytes.len() - SUM_BYTES;
        assert_eq!(
            bytes[end..],
            xxh3_64(&bytes[..end]).to_le_bytes(),
            "the checksum is XXH3-64 of all before it"
        );
        bytes[FORMAT_AT..FORMAT_AT + 2].copy_from_slice(&format.to_le_bytes());
        let sum = xxh3_64(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&sum);
        fs::write(&path, bytes).expect("the identity is written");
    }
}

/// XXH3-64 without a seed, of 65 to 96 bytes: an identity whose name has up to 30.
fn xxh3_64(input: &[u8]) -> u64 {
    const SECRET: [u64; 12] = [
        0xbe4b_a423_396c_feb8,
        0x1cad_21f7_2c81_017c,
        0xdb97_9083_e96d_d4de,
        0x1f67_b3b7_a4a4_4072,
        0x78e5_c0cc_4ee6_79cb,
        0x2172_ffcc_7dd0_5a82,
        0x8e24_43f7_7446_08b8,
        0x4c26_3a81_e690_35e0,
        0xcb00_c391_bb52_283c,
        0xa32e_531b_8b65_d088,
        0x4ef9_0da2_9748_6471,
        0xd8ac_dea9_46ef_1938,
    ];
    let length = input.len();
    assert!((65..=96).contains(&length), "{length} bytes");
    let word = |at: usize| u64::from_le_bytes(input[at..at + 8].try_into().expect("8 bytes"));
    let mix = |at: usize, secret: usize| {
        let product = u128::from(word(at) ^ SECRET[secret]) * u128::from(word(at + 8) ^ SECRET[secret + 1]);
        let bytes = product.to_le_bytes();
        let half = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("8 bytes"));
        half(0) ^ half(8)
    };
    let parts =
        [mix(32, 8), mix(length - 48, 10), mix(16, 4), mix(length - 32, 6), mix(0, 0), mix(length - 16, 2)];
    let seed = (length as u64).wrapping_mul(0x9e37_79b1_85eb_ca87);
    let mut hash = parts.into_iter().fold(seed, u64::wrapping_add);
    hash ^= hash >> 37;
    hash = hash.wrapping_mul(0x1656_6791_9e37_79f9);
    hash ^ (hash >> 32)
}
