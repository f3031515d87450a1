//! Analysis and synthesis in weights a second, beside the plain matrix products that they are made of.

fn main() {
    divan::main();
}
