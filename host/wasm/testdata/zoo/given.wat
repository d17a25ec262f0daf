;; Gives the host bytes at a pointer and a length that the body says: its bytes
;; 1 to 4 and 5 to 8. It answers with the code.
;; Attacks: the check of every pointer and length.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (i32.store (i32.const 256) (call $bytes (i32.const 0) (i32.load (i32.const 17)) (i32.load (i32.const 21))))
    (call $answer (i32.const 256) (i32.const 4))))
