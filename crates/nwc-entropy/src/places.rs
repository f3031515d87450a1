//! Where AVX2 and NEON, which have no expansion and no compression, move words: a permutation for each mask of 8 lanes.

/// For each mask: which word each lane of the mask takes, in order (other lanes: any).
pub(crate) static EXPAND: [[u8; 8]; 256] = expand_table();
/// For each mask: the lanes of the mask, in order, in the last places (other places: any).
pub(crate) static COMPRESS: [[u8; 8]; 256] = compress_table();

const fn expand_table() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut word) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][lane] = word;
                word += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
}

const fn compress_table() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut mask = 0_usize;
    while mask < 256 {
        let (mut lane, mut place) = (0, 8 - mask.count_ones() as usize);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][place] = lane as u8;
                place += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
}
