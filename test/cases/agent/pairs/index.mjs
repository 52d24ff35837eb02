// Meets: each invocation answers when another one is there.
let waiting;
export const handler = async (event) => {
  console.log(`arrived ${event.name}`);
  if (waiting) {
    waiting(event.name);
    waiting = undefined;
    return `second ${event.name}`;
  }
  const other = await new Promise((resolve) => { waiting = resolve; });
  console.log(`${event.name} met ${other}`);
  return `first ${event.name}`;
};
