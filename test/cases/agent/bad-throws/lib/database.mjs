console.log('connecting');
export function connect() {
  throw new TypeError('DATABASE_URL is not set');
}
connect();
