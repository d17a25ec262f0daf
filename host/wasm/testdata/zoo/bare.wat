;; A guest without a data section: a test adds one that fills the memory.
;; Attacks: the cap of the memory; the size of the snapshot.
(module
  (memory (export "memory") 256)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32) (i32.const 4)))
