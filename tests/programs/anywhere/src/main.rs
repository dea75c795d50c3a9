//! Says what each macro comes to, and what was decided.

fn main() {
    anywhere::each(&mut |name, number| println!("result {name} = {number}"));
    println!("sum {}", anywhere::sum());
    print!("{}", invar::report());
}
