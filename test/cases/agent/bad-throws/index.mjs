import { connect } from './lib/database.mjs';
export const handler = () => connect();
