;; Asks the same view for the same value, again and again.
;; Attacks: fuel for host calls.
(module
  (import "postern1" "view" (func $view (param i32 i32) (result i32)))
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "{\22a\22:{\22b\22:{\22c\22:[1,2,3]}}}/a/b/c/2")
  (func $attack (param $left i64) (result i32)
    (drop (call $view (i32.const 1) (call $bytes (i32.const 0) (i32.const 512) (i32.const 27))))
    (loop $again
      (drop (call $get (i32.const 0) (i32.const 539) (i32.const 8) (i32.const 600) (i32.const 8)))
      ;;again
    )
    (i32.const 4)))
