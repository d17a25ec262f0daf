;; A dispatcher: the way back to the loop's head is a br_table.
;; Attacks: fuel at loop heads, however they are reached.
(module
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (if (i64.eqz (local.get $left)) (then (return (i32.const 4))))
      (br_table $again $again $again $again (i32.wrap_i64 (local.get $left))))
    (unreachable)))
