import { a } from "./a.js";

export default {
  fetch() { return a(; }
};
