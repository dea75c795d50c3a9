//! Where sites are not bound.

pub(crate) fn main() {
    print!("{}", invar_bench::Table::measure(std::time::Duration::ZERO));
}
