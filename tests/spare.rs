//! The list from which the hook on thread creation takes memory: every interleaving of a few threads, in a model of the
//! memory. Nobody sees what another still writes, nothing is had by two, and nothing is lost.

/// In the place of `src/timeslice/hook/atomic.rs`.
mod atomic {
    pub(crate) use loom::sync::atomic::AtomicPtr;
}
#[path = "../src/timeslice/hook/spare.rs"]
mod spare;

use atomic::AtomicPtr;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use spare::{Linked, Spare};
use std::ptr::null_mut;

/// Loom watches who writes to its cells, and who reads them.
struct Node {
    next: UnsafeCell<*mut Node>,
    user: UnsafeCell<u32>,
}

impl Linked for Node {
    unsafe fn next(this: *mut Self) -> *mut Self {
        // SAFETY: no node is freed while there are threads.
        unsafe { (*this).next.with(|next| *next) }
    }

    unsafe fn set_next(this: *mut Self, next: *mut Self) {
        // SAFETY: as above.
        unsafe { (*this).next.with_mut(|to| *to = next) }
    }
}

fn node() -> *mut Node {
    Box::into_raw(Box::new(Node { next: UnsafeCell::new(null_mut()), user: UnsafeCell::new(0) }))
}

/// Uses a node as a thread's creator and that thread do. Returns how many had to be made.
fn use_one(list: &Spare<Node>, user: u32) -> usize {
    let mut taken = list.take();
    let made = usize::from(taken.is_null());
    if taken.is_null() {
        taken = node();
    }
    // SAFETY: ours.
    unsafe {
        (*taken).user.with_mut(|to| *to = user);
        Node::set_next(taken, null_mut());
        assert_eq!((*taken).user.with(|user| *user), user, "somebody else has it too");
        list.give_back(taken);
    }
    made
}

/// Threads that each use so many one after the other, of a list in which there are some.
fn model(threads: u32, times: u32, at_first: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let list = Arc::new(Spare(AtomicPtr::new(null_mut())));
        for _ in 0..at_first {
            // SAFETY: new.
            unsafe { list.give_back(node()) };
        }
        let work = move |list: &Spare<Node>, user| (0..times).map(|_| use_one(list, user)).sum::<usize>();
        let others: Vec<_> = (1..threads)
            .map(|user| {
                let list = list.clone();
                thread::spawn(move || work(&list, user))
            })
            .collect();
        let made = work(&list, 0) + others.into_iter().map(|other| other.join().unwrap()).sum::<usize>();

        let mut left = 0;
        loop {
            let taken = list.take();
            if taken.is_null() {
                break;
            }
            left += 1;
            assert!(left <= at_first + made, "one is there twice");
            // SAFETY: no other thread is left.
            drop(unsafe { Box::from_raw(taken) });
        }
        assert_eq!(left, at_first + made, "one is lost");
    });
}

#[test]
fn two_threads() {
    model(2, 2, 0);
    model(2, 2, 1);
    model(2, 1, 3);
}

#[test]
fn three_threads() {
    model(3, 1, 0);
    model(3, 1, 2);
}
