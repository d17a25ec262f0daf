;; Does what the body says. A number in decimal digits is how many times it goes
;; round a loop that does nothing: it burns fuel. "g" grows its memory by a page.
;; "t" traps. Nothing at all is said, for which the verdict is ignore.
(module
  (import "postern1" "read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "postern_abi") (result i32) (i32.const 1))
  (func (export "postern_handle") (result i32)
    (local $at i32) (local $end i32) (local $rounds i32)
    (local.set $end (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16)))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 103))
      (then
        (drop (memory.grow (i32.const 1)))
        (return (i32.const 2))))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 116)) (then (unreachable)))
    (block $said
      (loop $digit
        (br_if $said (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $rounds
          (i32.add
            (i32.mul (local.get $rounds) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digit)))
    (if (local.get $rounds)
      (then
        (loop $round
          (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))))
    (i32.const 2)))
