;; Has a memory of 64-bit addresses, which the host's 32-bit pointers miss.
;; Attacks: the refusal of memory64.
(module
  (memory (export "memory") i64 1)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (i64.store (i64.const 0xfff0) (i64.const 1))
    (i32.const 4)))
