// undici publishes types for its main entry only; the parts are the same classes.
declare module 'undici/lib/dispatcher/pool.js' {
  import { Pool } from 'undici';
  export default Pool;
}
