;; Has the host write the body to a pointer and a length that the body says: its
;; bytes 1 to 4 and 5 to 8. It answers with the code.
;; Attacks: the check of every pointer and length.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (i32.store (i32.const 256) (call $read (i32.const 0) (i32.const 0) (i32.load (i32.const 17)) (i32.load (i32.const 21))))
    (call $answer (i32.const 256) (i32.const 4))))
