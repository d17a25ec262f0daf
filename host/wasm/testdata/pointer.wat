;; Reads the body to a place outside its memory.
(module
  (import "postern1" "read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (call $read (i32.const 0) (i32.const 0) (i32.const 0xfffffff0) (i32.const 0x100))))
